"""An agent's checkpoints: those that the compactor has written, and those that it has yet to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Message

from headwater.errors import AgentNotFound, PointNotFound, UndecodableRecord
from headwater.log.checkpoints import (
    Checkpoint,
    CheckpointState,
    decode_checkpoint,
    decode_state,
    mark,
    noted,
    split_key,
)
from headwater.log.fold import Admission, Head, admit, advance, genesis
from headwater.log.notes import Forget, read_note
from headwater.log.records import StateChange, parse
from headwater.recovery.recover import Recovery


def list_checkpoints(
    recovery: Recovery, agent_id: str, *, until: int | None = None
) -> list[Checkpoint]:
    """The checkpoints of an agent, newest first; those that were given up, or whose time is over,
    left out.

    Read as of the end of the agent's events partition, or of the record before offset ``until``,
    which is waited for. Raises :class:`AgentNotFound` for an agent that was never in the log; one
    that was deleted keeps its checkpoints until their time is over.
    """
    held = _read(recovery, agent_id, until)
    kept = [each for each in map(held.get, held.checkpoints) if each and not each.deleted]
    # Several at one place in the chain stay in the log's order, and so the last comes first.
    kept.sort(key=lambda each: each.sequence)
    return kept[::-1]


def find_checkpoint(
    recovery: Recovery, agent_id: str, checkpoint_id: str
) -> tuple[Checkpoint, CheckpointState | None]:
    """One checkpoint, and where its state is held by itself, if it is.

    Raises :class:`AgentNotFound`, and :class:`PointNotFound` where the agent has no such
    checkpoint, or no longer.
    """
    held = _read(recovery, agent_id, None)
    found, state = held.get(checkpoint_id), held.states.get(checkpoint_id)
    if found is None or found.deleted:
        was = "was given up" if found is not None else "is not one of its checkpoints"
        raise PointNotFound(f"agent {agent_id!r}: {checkpoint_id!r} {was}")
    return found, None if state is None else decode_state(state)


def head_of(recovery: Recovery, agent_id: str) -> Head:
    """An agent's head as of the end of the log, from index and tail alone; reads no state.

    Raises :class:`AgentNotFound` where there is no such agent.
    """
    held = _Held(genesis(agent_id))
    _read_tail(recovery, agent_id, held, *_indexed(recovery, agent_id, held), None)
    if not held.head.exists:
        was = "was deleted" if held.head.deleted else "is not in the log"
        raise AgentNotFound(f"agent {agent_id!r} {was}")
    return held.head


@dataclass(slots=True)
class _Held:
    """What is known of one agent so far; checkpoints in the log's order. Of many records few are
    asked for: they stay as they were read until then.
    """

    head: Head
    checkpoints: dict[str, Checkpoint | bytes] = field(default_factory=dict)
    states: dict[str, bytes] = field(default_factory=dict)

    def get(self, checkpoint_id: str) -> Checkpoint | None:
        """One of the checkpoints, decoded."""
        found = self.checkpoints.get(checkpoint_id)
        if isinstance(found, bytes):
            found = self.checkpoints[checkpoint_id] = decode_checkpoint(found)
        return found

    def take_record(self, message: Message) -> None:
        """A record of the checkpoints topic."""
        key, value = message.key() or b"", message.value()
        _, checkpoint_id, is_state = split_key(key)
        if is_state:
            self.states.pop(checkpoint_id, None)
            if value is not None:
                self.states[checkpoint_id] = value
        else:
            self.checkpoints.pop(checkpoint_id, None)
            if value is not None:
                self.checkpoints[checkpoint_id] = value

    def take_event(self, change: StateChange) -> None:
        """An event that the compactor may not have seen yet."""
        if change.kind != "BARRIER":
            if admit(self.head, change) is not Admission.ADMITTED:
                return
            self.head = advance(self.head, change)
        note = read_note(change)
        if note is None or not self.head.exists:
            return
        if isinstance(note, Forget):
            known = self.get(note.forget)
            if known is not None:
                self.checkpoints[note.forget] = msgspec.structs.replace(known, deleted=True)
        elif note.id not in self.checkpoints:
            # Where it is known already, the record is right: the index entry, and so the head that
            # is known here, may be newer than the position from which this reads.
            self.checkpoints[note.id] = mark(
                self.head,
                note.id,
                note.type,
                node_id=change.node_id,
                created_at=change.created_at,
                **noted(note),
            )


def _read(recovery: Recovery, agent_id: str, until: int | None) -> _Held:
    held = _Held(genesis(agent_id))
    # In this order: whatever the compactor has committed when its position is read, the records
    # that are read next hold; and what it has not, the events do.
    start = _indexed(recovery, agent_id, held)
    _read_records(recovery, agent_id, held)
    _read_tail(recovery, agent_id, held, *start, until)
    if not held.head.sequence and not held.checkpoints:
        raise AgentNotFound(f"agent {agent_id!r} is not in the log")
    return held


def _indexed(recovery: Recovery, agent_id: str, held: _Held) -> tuple[int, int]:
    """The agent's partition, and where its tail begins."""
    partition = recovery.partition_of(agent_id)
    entry, start = recovery.lookup(partition, agent_id.encode())
    if entry is not None:
        held.head = entry.head
    return partition, start


def _read_records(recovery: Recovery, agent_id: str, held: _Held) -> None:
    prefix = agent_id.encode() + b"\0"
    topic = recovery.config.topic("checkpoints")
    with recovery.scans.lend() as reader:
        for batch in reader.scan(topic, recovery.partition_of(agent_id), None):
            for message in batch:
                if (message.key() or b"").startswith(prefix):
                    held.take_record(message)


def _read_tail(
    recovery: Recovery, agent_id: str, held: _Held, partition: int, start: int, until: int | None
) -> None:
    key, topic = agent_id.encode(), recovery.config.topic("events")
    with recovery.scans.lend() as reader:
        for batch in reader.scan(topic, partition, start, until):
            for change in _parsed(m for m in batch if m.key() == key):
                try:
                    held.take_event(change)
                except UndecodableRecord:
                    continue  # a note that the compactor sets aside; its record counts


def _parsed(messages: Iterable[Message]) -> Iterable[StateChange]:
    for message in messages:
        try:
            yield parse(message.key(), message.value())
        except UndecodableRecord:
            continue  # the compactor sets it aside
