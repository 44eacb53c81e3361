"""An owner's session: it alone may change the agent, until it gives it up or is fenced."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

from headwater.agent.checkpoint import Metadata, new_note
from headwater.agent.claim import Claim, Claimant
from headwater.agent.doubt import claim_again, count_applied, dropped_error, in_doubt_error, settled
from headwater.agent.draft import ACKNOWLEDGED, STRONG, Change, Level
from headwater.agent.ownlog import OwnLog
from headwater.agent.parts import Parts, Settled
from headwater.agent.pending import Flight, Outcome, Pending
from headwater.agent.restore import Restoring
from headwater.agent.waking import waker
from headwater.clock import wall_ms
from headwater.crash import crash_point
from headwater.errors import (
    ChangesDropped,
    Fenced,
    HeadwaterError,
    SessionClosed,
    Unavailable,
)
from headwater.log.chain import next_hash, record_digest
from headwater.log.checkpoints import Checkpoint
from headwater.log.fold import VERSIONED, Head
from headwater.log.notes import encode_note
from headwater.state.diff import diff
from headwater.state.draft import StateView
from headwater.state.model import AgentState, state_hash
from headwater.state.patch import encode_patch
from headwater.state.values import pack

_FAR = 20_000
"""Records after which the index is asked for a later head, instead of reading them all."""


class Session(Restoring):
    """One agent, owned by this process. Made by ``connection.agent(...)``; one thread (or task)
    changes it at a time.
    """

    def __init__(self, parts: Parts, who: Claimant, claim: Claim) -> None:
        super().__init__(parts, who, claim.recovered)
        self._key = who.agent_id.encode()
        self._send = parts.publisher.send
        self._ended = False
        self._own_log: OwnLog | None = None
        self._disowned: HeadwaterError | None = None
        self._take(claim)
        self._changes = {
            (wait, level): Change(self, wait, level)
            for wait in (True, False)
            for level in (ACKNOWLEDGED, STRONG)
        }

    def _take(self, claim: Claim) -> None:
        """Go on from an admitted claim."""
        head = claim.recovered.head
        self._claim = claim
        self._tried: list[bytes] = []
        self._hash, self._sequence, self._version = head.hash, head.sequence, head.version
        self._encoder = self._parts.claimer.encoder(self._who, claim.epoch, claim.nonce)
        self._flight = Flight(self._parts.lease, claim.generation)
        if self._own_log is not None:
            self._own_log.close()
            self._own_log = None

    @property
    def epoch(self) -> int:
        """The epoch in which this session owns the agent."""
        return self._claim.epoch

    @property
    def version(self) -> int:
        """Version of the state, with the changes that are in flight."""
        return self._version

    def change(self, *, wait: bool = True, level: Level = ACKNOWLEDGED) -> Change:
        """A block whose draft becomes one event.

        With ``wait`` it returns once the change is acknowledged (or, at :data:`STRONG`, seen to
        be admitted); without, at once, and :meth:`flush` settles what is in flight. Raises
        :class:`Fenced` once the agent belongs to another process, and :class:`InDoubt` while
        an earlier change is undecided.
        """
        return self._changes[wait, level]

    def replace(self, state: AgentState, *, wait: bool = True, level: Level = ACKNOWLEDGED) -> None:
        """Make the state equal to ``state`` in one change: for callers who have whole states."""
        pending = self._replace(state)
        if pending is not None and wait:
            self.settle(pending, level)

    async def replace_async(
        self, state: AgentState, *, wait: bool = True, level: Level = ACKNOWLEDGED
    ) -> None:
        """:meth:`replace` without blocking the event loop."""
        pending = await asyncio.to_thread(self._replace, state)
        if pending is not None and wait:
            await self.settle_async(pending, level)

    def _replace(self, state: AgentState) -> Pending | None:
        self._check()
        document = state.to_document()
        document["session_id"], document["request_id"] = self.session_id, self._who.request_id
        self._body.stamp(document["metadata"])
        ops = diff(self._body.document, document)
        if not ops:
            return None
        patch = encode_patch(ops)
        self._body.check_change(patch)
        self._body.check_size(document, len(pack(document)))
        pending = self._dispatch("CHANGE", patch, block=True)
        self._body.install(document)
        return pending

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
        """Keep this moment of the agent, by one small event behind all changes so far.

        ``type`` is "manual", "milestone" (kept longest), "emergency" or "automatic". Changes that
        are in flight are waited for together with it. ``self_contained``: the retention job gives
        it a state of its own at its next pass, not after an hour. ``wait``, ``level`` and errors
        as in :meth:`change`; :class:`TooLarge` for more than 64 KiB of label and metadata.
        """
        made, pending = self.send_checkpoint(type, label, metadata, self_contained)
        if wait:
            self.settle(pending, level)
        return made

    def send_checkpoint(
        self, type_: str, label: str, metadata: Metadata | None, self_contained: bool = False
    ) -> tuple[Checkpoint, Pending]:
        """Send the event of :meth:`checkpoint`, and do not wait for it."""
        self._check()
        self._body.check_closed()
        digest, now_ms = state_hash(self.agent_id, self._body.document), wall_ms()
        note = new_note(type_, label, metadata, self._version, digest, self_contained)
        pending = self._dispatch("CHECKPOINT", encode_note(note), block=True, now_ms=now_ms)
        pending.checkpoint_id = note.id
        return self._made(note, self._version, self._sequence, self._hash, now_ms), pending

    # The protocol of Change.

    @property
    def troubled(self) -> bool:
        """Whether :meth:`begin` would have to read the log, or refuse."""
        return self._blocked is not None or self._flight.doubt is not None

    def begin(self) -> StateView:
        """Open a draft."""
        if self._blocked is not None or self._flight.doubt is not None:
            self._check()
        return self._body.begin()

    def abandon(self) -> None:
        """Take the draft back."""
        self._body.abandon()

    def publish(self, *, block: bool) -> Pending | None:
        """Send the draft as one event, or take it back if that cannot be done."""
        body = self._body
        try:
            patch = body.seal()
            pending = None if patch is None else self._dispatch("CHANGE", patch, block=block)
        except BufferError:
            raise
        except BaseException:
            body.abandon()
            raise
        body.end()
        return pending

    def _dispatch(
        self, kind: str, patch: bytes, *, block: bool, now_ms: int | None = None
    ) -> Pending:
        if self._disowned is not None:
            raise self._disowned
        sequence = self._sequence + 1
        version = self._version + (kind in VERSIONED)
        value = self._encoder.record(kind, self._hash, sequence, patch, now_ms or wall_ms())
        chain_hash = next_hash(self._hash, record_digest(value))
        pending = self._flight.add(chain_hash, version)
        try:
            crash_point("session.before_send")
            self._send(self._partition, self._key, value, pending, block)
        except BaseException:
            self._flight.withdraw(pending)
            raise
        crash_point("session.after_send")
        self._hash, self._sequence, self._version = chain_hash, sequence, version
        return pending

    def settle(self, pending: Pending, level: Level) -> None:
        """Wait until the event counts at ``level``, or raise."""
        flight = self._flight
        try:
            self._parts.publisher.wait(
                lambda: pending.settled or flight.doubt is not None, self._patience_s
            )
        finally:
            if not pending.settled:  # interrupted, or no word of it
                flight.suspect(pending)
        crash_point("session.after_ack")
        self._conclude(pending, level)

    async def settle_async(self, pending: Pending, level: Level) -> None:
        """The same without blocking the event loop. Cancelling it leaves the session in doubt
        until :meth:`flush`: the change may still arrive.
        """
        told = asyncio.Event()
        pending.notify = partial(waker().wake, told)
        flight = self._flight
        try:
            with self._parts.publisher.hurry():
                while not (pending.settled or flight.doubt is not None):
                    await told.wait()
                    told.clear()
            if not pending.settled or level is STRONG or self._disowned is not None:
                await asyncio.to_thread(self._conclude, pending, level)
        except asyncio.CancelledError:
            if not pending.settled:
                flight.suspect(pending)
            raise

    def _conclude(self, pending: Pending, level: Level) -> None:
        if self._disowned is not None:
            raise self._disowned
        if pending.settled:
            if level is STRONG:
                self._see_admitted(pending)
            return
        if pending.outcome is not Outcome.FAILED and self._flight.only_unproven:
            # The brokers have it, but the lease lapsed before they said so (a broker's failover
            # can do that): the log knows whether it counts.
            self._resolve()
            if pending.dropped:
                raise dropped_error(self.agent_id, self._version, settled([pending], 0))
            return
        raise in_doubt_error(self.agent_id, self._flight.doubt)

    @property
    def _patience_s(self) -> float:
        # Longer than librdkafka's own timeout, which is what reports a change as failed.
        return self._parts.config.send_timeout.total_seconds() + 5

    def flush(self) -> Settled:
        """Wait for everything in flight. Where something failed, the log is read to learn which
        changes count: returns if they all do, raises :class:`ChangesDropped` if some do not
        (the state is then as the log has it), :class:`Unavailable` while nobody can tell.
        """
        crash_point("session.before_flush")
        if self._blocked is not None:
            raise self._blocked
        flight = self._flight
        if not self._parts.publisher.wait(lambda: flight.reported, self._patience_s):
            raise Unavailable(
                f"agent {self.agent_id!r}: the brokers do not answer; call flush() again"
            )
        if self._disowned is not None:
            raise self._disowned
        if flight.calm():
            crash_point("session.after_flush")
            return Settled()
        return self._resolve_all()

    async def flush_async(self) -> Settled:
        """:meth:`flush` without blocking the event loop."""
        return await asyncio.to_thread(self.flush)

    def _check(self) -> None:
        if self._blocked is not None:
            raise self._blocked
        if self._flight.doubt is None:
            return
        if not self._flight.only_unproven:
            raise in_doubt_error(self.agent_id, self._flight.doubt)
        self._resolve_all()

    def _resolve_all(self) -> Settled:
        outcome = self._resolve()
        if outcome.dropped or outcome.dropped_checkpoints:
            raise dropped_error(self.agent_id, self._version, outcome)
        return outcome

    def _resolve(self) -> Settled:
        """Claim the agent again, at the next epoch, and see in the log what came before that.

        The new claim is what makes the answer final: whatever of the old epoch still arrives
        behind it is refused by every reader.
        """
        flight = self._flight
        self._parts.publisher.wait(lambda: flight.reported, self._patience_s)
        if not flight.reported:
            raise in_doubt_error(self.agent_id, self._flight.doubt)
        left = list(flight.queue)
        claim = claim_again(self._parts.claimer, self._who, self._claim.epoch, self._tried)
        head = claim.recovered.head
        if head.nonce != claim.nonce:
            raise self._fence(head)
        applied = count_applied(left, self._tried, head.hash)
        self._parts.live_nonces.discard(self._claim.nonce)
        self._take(claim)
        if self._disowned is not None:  # meanwhile, by another thread
            self.disown(self._disowned)
            raise self._disowned
        self.recovered = claim.recovered
        self._body.install(claim.recovered.agent.document)
        return settled(left, applied)

    def _fence(self, head: Head) -> Fenced:
        whom = f"node {head.node_id!r}" if head.owned else f"nobody, after node {head.node_id!r}"
        self._blocked = Fenced(
            f"agent {self.agent_id!r} belongs to {whom} since epoch {head.epoch}; this session's "
            f"epoch was {self._claim.epoch}. Its unacknowledged changes do not count. Open the "
            "agent again to go on"
        )
        self._end()
        return self._blocked

    def _see_admitted(self, pending: Pending) -> None:
        """Read this agent's records through the pending one's offset."""
        if self._own_log is None:
            known = self._claim.recovered
            if pending.offset - known.next_offset > _FAR:
                known = self._parts.recovery.look(self.agent_id, until=pending.offset + 1)
            self._own_log = OwnLog(
                self._parts.config, self._partition, known.head, known.next_offset
            )
        head = self._own_log.read_through(pending.offset)
        if head.nonce != self._claim.nonce:
            raise self._fence(head)

    def release(self) -> None:
        """Settle what is in flight and give the agent up, so that nobody has to wait for it."""
        if self._ended:
            return
        dropped: ChangesDropped | None = None
        try:
            self.flush()
        except ChangesDropped as error:  # settled all the same
            dropped = error
        finally:
            self._finish("RELEASE")
        if dropped is not None:
            raise dropped

    def delete(self) -> None:
        """End the agent's life. Its log stays, its state is gone; another claim begins anew."""
        self._check()
        self.flush()
        self._finish("DELETE")

    def _finish(self, kind: str) -> None:
        """Write the session's last record, again if the agent had to be claimed again for it."""
        try:
            while not self.troubled:
                claim = self._claim
                with contextlib.suppress(ChangesDropped):  # the record itself
                    self.settle(self._dispatch(kind, b"", block=True), ACKNOWLEDGED)
                if self._claim is claim:
                    break
        finally:
            self._end()

    def disown(self, error: HeadwaterError) -> None:
        """From another thread: nothing that this session does counts as done any more, whoever
        waits for it gets ``error``, and its process may claim the agent anew at once.

        What was acknowledged before this call stands before that claim in the log. What is still
        in flight may stand there or not: the new claim's recovery says.
        """
        self._disowned = self._blocked = error
        self._ended = True
        # After the lines above: a claim that is made meanwhile looks at them once it is taken.
        self._parts.live_nonces.discard(self._claim.nonce)

    def _end(self) -> None:
        self._ended = True
        self._parts.live_nonces.discard(self._claim.nonce)
        if self._blocked is None:
            self._blocked = SessionClosed(f"agent {self.agent_id!r}: this session has ended")
        if self._own_log is not None:
            with contextlib.suppress(HeadwaterError):
                self._own_log.close()
            self._own_log = None
