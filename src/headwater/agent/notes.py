"""Notes in the logs of agents that this process need not own: checkpoints, and their end.

A note extends no chain, so it takes nothing from the agent's owner, and any thread may send it at
any time; it marks the head that it happens to follow in the log.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import KafkaError, Message

from headwater.agent.parts import Parts
from headwater.clock import wall_ms
from headwater.errors import HeadwaterError, Unavailable
from headwater.kafka.errors import to_headwater
from headwater.log.notes import Forget, Note, encode_note
from headwater.log.records import FOLD_VERSION, Kind
from headwater.wire import codec

_RETRY_S = 0.01


@dataclass(slots=True, eq=False)
class Sent:
    """A note on its way. Called by the producer with its delivery report."""

    agent_id: str
    note: Note | Forget
    queued: bool = False
    done: bool = False
    offset: int = -1
    error: HeadwaterError | None = None

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Take the delivery report."""
        if error is not None:
            self.error = to_headwater(error, f"a note for agent {self.agent_id!r}")
        else:
            self.offset = message.offset() or 0
        self.done = True


def send_note(parts: Parts, agent_id: str, note: Note | Forget) -> int:
    """Write one note, and return its offset once it is acknowledged.

    Raises :class:`Unavailable` where that takes too long; the note may still arrive then.
    """
    sent = Sent(agent_id, note)
    send_notes(parts, (sent,), parts.config.send_timeout.total_seconds() + 5)
    if sent.error is not None:
        raise sent.error
    return sent.offset


def send_notes(parts: Parts, notes: Iterable[Sent], timeout_s: float) -> None:
    """Write notes in one flight, and wait for their acknowledgements up to ``timeout_s``.

    Each tells its outcome; those that did not make it have an ``error``.
    """
    deadline = time.monotonic() + timeout_s
    flight = list(notes)
    while not all(_queue(parts, sent) for sent in flight) and time.monotonic() < deadline:
        # The send buffer is full of changes: they were first.
        parts.publisher.wait(lambda: False, _RETRY_S)
    left_s = max(0.0, deadline - time.monotonic())
    parts.publisher.wait(lambda: all(sent.done for sent in flight if sent.queued), left_s)
    for sent in flight:
        if not sent.done:
            sent.error = Unavailable(
                f"a note for agent {sent.agent_id!r} was not acknowledged in {timeout_s:g} s"
                + ("; it may still arrive" if sent.queued else "; it was not sent")
            )


def _queue(parts: Parts, sent: Sent) -> bool:
    if sent.queued or sent.done:
        return True
    partition = parts.recovery.partition_of(sent.agent_id)
    try:
        value = _encode(parts, sent)
        parts.publisher.send(partition, sent.agent_id.encode(), value, sent, block=False)
    except BufferError:
        return False
    except HeadwaterError as error:
        sent.error, sent.done = error, True
        return True
    sent.queued = True
    return True


def _encode(parts: Parts, sent: Sent) -> bytes:
    return codec("StateChange").encode(
        {
            "agent_id": sent.agent_id,
            "fold": FOLD_VERSION,
            "kind": Kind.BARRIER.value,
            "epoch": 0,
            "nonce": None,
            "session_id": "",
            "request_id": None,
            "node_id": parts.lease.node_id,
            "incarnation": parts.lease.incarnation,
            "lease_ms": 0,
            "prev": None,
            "sequence": 0,
            "patch": encode_note(sent.note),
            "created_at": wall_ms(),
        }
    )
