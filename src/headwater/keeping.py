"""The part of a connection that keeps checkpoints, of its own agents and of others."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from headwater.agent.checkpoint import Metadata, new_note
from headwater.agent.notes import Sent, send_note, send_notes
from headwater.agent.session import Session
from headwater.agent.unclaimed import UnclaimedSession
from headwater.agent.whole import put_whole
from headwater.errors import AgentNotFound, ConfigError, HeadwaterError, PointNotFound
from headwater.log.checkpoints import Checkpoint
from headwater.log.exports import CODECS, decode_export, encode_export
from headwater.log.notes import CheckpointType, Forget, Note
from headwater.log.records import check_agent_id
from headwater.recovery import Failed, Recovered
from headwater.recovery.checkpoints import find_checkpoint, head_of, list_checkpoints
from headwater.recovery.rehearse import Function, Rehearsed, rehearse
from headwater.recovery.travel import travel
from headwater.state.model import validate
from headwater.travelling import Travelling

_EMERGENCY = timedelta(seconds=5)
_LONGEST_REASON = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergency:
    """An emergency checkpoint of one agent; with an ``error``, it may not have been made."""

    agent_id: str
    checkpoint_id: str
    error: HeadwaterError | None = None


class Keeping(Travelling):
    """Checkpoints, for :class:`~headwater.client.Client`."""

    _sessions: weakref.WeakSet[Session | UnclaimedSession]

    def checkpoint(
        self,
        agent_id: str,
        type: str = "manual",  # noqa: A002 - the name that the log has for it
        label: str = "",
        metadata: Metadata | None = None,
        *,
        self_contained: bool = False,
    ) -> Checkpoint:
        """Keep the moment at which an agent is now, whoever owns it, and whether it hangs or not.

        It marks the head that the agent has when this reaches the log; what a session knows more
        exactly is :meth:`Session.checkpoint`. Returns once readers can see it. Raises
        :class:`AgentNotFound`, and errors as there.
        """
        self._check()
        note = new_note(type, label, metadata, self_contained=self_contained)
        head_of(self._recovery, check_agent_id(agent_id))
        offset = send_note(self._parts, agent_id, note)
        for found in list_checkpoints(self._recovery, agent_id, until=offset + 1):
            if found.checkpoint_id == note.id:
                return found
        raise AgentNotFound(f"agent {agent_id!r} was deleted before its checkpoint was made")

    def checkpoints(self, agent_id: str) -> list[Checkpoint]:
        """The agent's checkpoints, newest first. Raises :class:`AgentNotFound`."""
        self._check()
        return list_checkpoints(self._recovery, check_agent_id(agent_id))

    def delete_checkpoint(
        self, agent_id: str, checkpoint_id: str, *, reason: str = ""
    ) -> Checkpoint:
        """Give a checkpoint up, and return what it was; what it alone kept is free to go.

        The agent's log says so from then on, with the ``reason`` (of at most 1,000 characters).
        Raises :class:`AgentNotFound` and :class:`PointNotFound`.
        """
        self._check()
        found, _ = find_checkpoint(self._recovery, check_agent_id(agent_id), checkpoint_id)
        note = Forget(forget=checkpoint_id, reason=reason[:_LONGEST_REASON])
        offset = send_note(self._parts, agent_id, note)
        list_checkpoints(self._recovery, agent_id, until=offset + 1)
        return found

    def export_checkpoint(
        self, agent_id: str, checkpoint_id: str, *, codec: str = "by-size"
    ) -> bytes:
        """A checkpoint as a file that needs nothing else to have its state again.

        ``codec`` compresses the state: gzip, lz4, snappy, none, by-size or adaptive. Raises
        :class:`AgentNotFound`, :class:`PointNotFound` and :class:`Unprovable`.
        """
        self._check()
        if codec not in CODECS:
            raise ConfigError(f"a codec is one of {', '.join(CODECS)}, not {codec!r}")
        trip = travel(self._recovery, check_agent_id(agent_id), checkpoint_id)
        if trip.checkpoint is None:
            raise PointNotFound(f"agent {agent_id!r}: {checkpoint_id!r} is no checkpoint")
        return encode_export(trip.checkpoint, trip.recovered.agent.document, codec)

    def import_checkpoint(
        self, data: bytes, new_id: str, *, session: str | None = None
    ) -> Recovered:
        """Begin the agent ``new_id`` with the state of a checkpoint's file, which is verified
        before anything is written.

        Raises :class:`AgentExists`, :class:`CorruptData` for a file that is not as it was written,
        and :class:`InvalidState` for a state that no agent can be put to.
        """
        self._check()
        check_agent_id(new_id)
        checkpoint, document = decode_export(data)
        validate(document, checkpoint.agent_id)
        with self._beginning(new_id, session) as opened:
            put_whole(
                opened,
                document,
                agent_id=checkpoint.agent_id,
                version=checkpoint.version,
                chain_hash=checkpoint.hash,
            )
            origin = {"agent_id": checkpoint.agent_id, "checkpoint_id": checkpoint.checkpoint_id}
            details = {**checkpoint.details, "imported": origin}
            opened.checkpoint(checkpoint.type, checkpoint.label, details)
        return self._recovery.recover(new_id)

    def emergency(self, reason: str, *, within: timedelta = _EMERGENCY) -> list[Emergency]:
        """Keep the moment of every agent that is open in this process: before it stops, say.

        From any thread, whatever the others are doing: what a session has sent before is in its
        checkpoint. All are sent at once, and waited for no longer than ``within``.
        """
        self._check()
        flight = [Sent(agent_id, _emergency(reason)) for agent_id in self._open_agents()]
        send_notes(self._parts, flight, within.total_seconds())
        return [
            Emergency(agent_id=sent.agent_id, checkpoint_id=sent.note.id, error=sent.error)
            for sent in flight
            if isinstance(sent.note, Note)
        ]

    def rehearse(
        self, agent_ids: Iterable[str] | None, function: Function
    ) -> Iterator[Rehearsed | Failed]:
        """Run what agents have recorded (None: all) through new code, and find the first version
        that comes out different; see :func:`headwater.recovery.rehearse.rehearse`.

        ``function(state, event)`` returns the new state, or changes the one that it is given;
        ``event.apply(state)`` does what was recorded. Writes nothing.
        """
        self._check()
        return rehearse(self._recovery, agent_ids, function)

    def _open_agents(self) -> list[str]:
        return sorted({s.agent_id for s in list(self._sessions) if not s.ended and s.exists})


def _emergency(reason: str) -> Note:
    return new_note(CheckpointType.EMERGENCY, reason[:_LONGEST_REASON], None)
