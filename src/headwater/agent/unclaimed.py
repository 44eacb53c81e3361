"""A session without a claim: each change by compare-and-set, admitted only while nobody owns the
agent, and always read back. For web workers and framework adapters.
"""

from __future__ import annotations

import asyncio

from headwater.agent.base import SessionBase
from headwater.agent.checkpoint import Metadata, new_note
from headwater.agent.claim import Claimant
from headwater.agent.draft import ACKNOWLEDGED, Change, Level
from headwater.agent.ownlog import OwnLog
from headwater.agent.parts import Parts
from headwater.agent.pending import Flight, Outcome, Pending
from headwater.clock import wall_ms
from headwater.errors import (
    AgentOwned,
    ChangeRejected,
    Conflict,
    HeadwaterError,
    InDoubt,
    SessionClosed,
)
from headwater.log.chain import next_hash, record_digest
from headwater.log.checkpoints import Checkpoint
from headwater.log.fold import VERSIONED, Admission, Agent, admit, advance, fold
from headwater.log.notes import encode_note
from headwater.log.records import StateChange
from headwater.recovery import Recovered
from headwater.state.draft import StateView
from headwater.state.model import state_hash


class UnclaimedSession(SessionBase):
    """One agent that nobody owns, changed by whoever comes first. Made by
    ``connection.agent(..., claim=None)``.
    """

    def __init__(self, parts: Parts, who: Claimant, recovered: Recovered) -> None:
        super().__init__(parts, who, recovered)
        self._agent: Agent = recovered.agent
        self._log = OwnLog(parts.config, recovered.partition, recovered.head, recovered.next_offset)
        self._sent: bytes | None = None
        """Digest of the event whose fate is not known yet; a draft can still be taken back."""

    @property
    def exists(self) -> bool:
        """Whether the log knows the agent, as far as this session has read it."""
        return self._agent.head.exists

    @property
    def version(self) -> int:
        """Version of the state."""
        return self._agent.head.version

    def change(self, *, wait: bool = True, level: Level = ACKNOWLEDGED) -> Change:
        """A block whose draft becomes one event, admitted iff nothing came before it.

        Raises :class:`Conflict`, with the newer state, if something did, and
        :class:`AgentOwned` if somebody owns the agent.
        """
        if not wait:
            raise _cannot_not_wait()
        return Change(self, True, level)

    def checkpoint(
        self,
        type: str = "manual",  # noqa: A002 - the name that the log has for it
        label: str = "",
        metadata: Metadata | None = None,
        *,
        wait: bool = True,
        level: Level = ACKNOWLEDGED,
        self_contained: bool = False,
    ) -> Checkpoint:
        """Keep this moment of the agent, by an event that is admitted iff nothing came before it;
        see :meth:`Session.checkpoint`. Errors as in :meth:`change`.
        """
        if not wait:
            raise _cannot_not_wait()
        made, pending = self.send_checkpoint(type, label, metadata, self_contained)
        self.settle(pending, level)
        return made

    def send_checkpoint(
        self, type_: str, label: str, metadata: Metadata | None, self_contained: bool = False
    ) -> tuple[Checkpoint, Pending]:
        """Send the event of :meth:`checkpoint`, and do not wait for it."""
        self._body.check_closed()
        self._check_free()
        head, now_ms = self._agent.head, wall_ms()
        digest = state_hash(self.agent_id, self._body.document)
        note = new_note(type_, label, metadata, head.version, digest, self_contained)
        pending = self._send("CHECKPOINT", encode_note(note), True, now_ms)
        return self._made(note, head.version, head.sequence + 1, pending.hash, now_ms), pending

    @property
    def troubled(self) -> bool:
        """Whether :meth:`begin` would refuse, or read the log first."""
        return self._blocked is not None or self._sent is not None or self._agent.head.owned

    def begin(self) -> StateView:
        """Open a draft."""
        self._check_free()
        return self._body.begin()

    def _check_free(self) -> None:
        """Raise unless an event may be sent."""
        if self._blocked is not None:
            raise self._blocked
        if self._sent is not None:
            raise self._in_doubt()
        if self._agent.head.owned:
            self._refresh()
        if self._agent.head.owned:
            raise self._owned()

    def abandon(self) -> None:
        """Take the draft back."""
        self._body.abandon()

    def publish(self, *, block: bool) -> Pending | None:
        """Send the draft; it can be taken back until its fate is known."""
        try:
            patch = self._body.seal()
            if patch is None:
                self._body.end()
                return None
            return self._send("CHANGE", patch, block)
        except BufferError:
            raise
        except BaseException:
            self._body.abandon()
            raise

    def _send(self, kind: str, patch: bytes, block: bool, now_ms: int | None = None) -> Pending:
        head = self._agent.head
        encoder = self._parts.claimer.encoder(self._who, head.epoch, None)
        value = encoder.record(kind, head.hash, head.sequence + 1, patch, now_ms or wall_ms())
        digest = record_digest(value)
        flight = Flight(self._parts.lease, -1)
        pending = flight.add(next_hash(head.hash, digest), head.version + 1)
        self._parts.publisher.send(self._partition, self.agent_id.encode(), value, pending, block)
        if patch:
            self._sent = digest
        return pending

    def settle(self, pending: Pending, level: Level) -> None:
        """Wait for the event's acknowledgement, and read the log through it."""
        self._acknowledged(pending)
        if not self._read_through(pending.offset):
            raise self._conflict()

    async def settle_async(self, pending: Pending, level: Level) -> None:
        """The same without blocking the event loop."""
        await asyncio.to_thread(self.settle, pending, level)

    def _acknowledged(self, pending: Pending) -> None:
        timeout_s = self._parts.config.send_timeout.total_seconds() + 5
        self._parts.publisher.wait(lambda: pending.outcome is not Outcome.SENT, timeout_s)
        if pending.outcome is not Outcome.UNPROVEN:  # without a lease nothing better comes
            raise self._in_doubt()

    def flush(self) -> None:
        """Where a change is in doubt: put a record that changes nothing in its place, and see
        in the log which of the two came first. Raises :class:`Conflict` if the change lost.
        """
        if self._blocked is not None:
            raise self._blocked
        if self._sent is None:
            return
        pending = self._send("CHECKPOINT", b"", True)
        self._acknowledged(pending)
        if not self._read_through(pending.offset):
            raise self._conflict()

    async def flush_async(self) -> None:
        """:meth:`flush` without blocking the event loop."""
        await asyncio.to_thread(self.flush)

    def _read_through(self, offset: int) -> bool:
        """Take in the log up to ``offset``; whether the change that was sent was admitted."""
        mine = False
        for change in self._log.changes_through(offset):
            head = self._agent.head
            if admit(head, change) is not Admission.ADMITTED:
                continue
            if change.digest == self._sent:
                mine = True
                self._agent.head = advance(head, change)
                self._keep()
            else:
                self._take(change)
        if self._sent is not None:
            self._drop()
        return mine

    def _take(self, change: StateChange) -> None:
        """Somebody else's record, or one that changes nothing."""
        self._drop()
        try:
            fold(self._agent, change)
        except HeadwaterError as error:
            # A state that it refers to cannot be read: all that follows would be a guess.
            self._blocked = error
            raise
        if change.kind in VERSIONED:
            self._body.install(self._agent.document)

    def _keep(self) -> None:
        self._sent = None
        self._body.end()

    def _drop(self) -> None:
        if self._sent is not None:
            self._sent = None
            if self._body.is_open:
                self._body.abandon()

    def _refresh(self) -> None:
        """Read on to the end of the log: the owner may have given the agent up."""
        recovered = self._parts.recovery.look(self.agent_id)
        self._agent = recovered.agent
        self._body.install(recovered.agent.document)
        self._log.close()
        self._log = OwnLog(
            self._parts.config, self._partition, recovered.head, recovered.next_offset
        )

    def _conflict(self) -> HeadwaterError:
        if self._agent.head.owned:
            return self._owned()
        return Conflict(
            f"agent {self.agent_id!r}: another change came first; the state is now at version "
            f"{self.version}: look at it and change it again",
            self.copy(),
        )

    def _owned(self) -> AgentOwned:
        head = self._agent.head
        return AgentOwned(
            f"agent {self.agent_id!r} is owned by node {head.node_id!r} (epoch {head.epoch}); "
            "without a claim it can be changed only while nobody owns it"
        )

    def _in_doubt(self) -> InDoubt:
        return InDoubt(
            f"agent {self.agent_id!r}: a change was sent and may or may not be in the log; "
            "call flush() to learn which"
        )

    def release(self) -> None:
        """End the session; there is nothing to give up."""
        if self._blocked is None:
            self._blocked = SessionClosed(f"agent {self.agent_id!r}: this session has ended")
            self._log.close()


def _cannot_not_wait() -> ChangeRejected:
    return ChangeRejected("without a claim every change is read back: wait=False cannot be")
