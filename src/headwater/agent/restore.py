"""Puts an agent back to a moment of its past, or begins another one there.

Nothing is taken back: a restore is one more event, which says how the state becomes what it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from headwater.agent.base import SessionBase
from headwater.agent.checkpoint import Metadata
from headwater.agent.draft import ACKNOWLEDGED, Level
from headwater.agent.parts import Settled
from headwater.agent.pending import Pending
from headwater.agent.refer import refer
from headwater.errors import InvalidState
from headwater.log.checkpoints import Checkpoint
from headwater.log.notes import CheckpointType
from headwater.recovery import Recovered
from headwater.recovery.travel import Moment, Trip, travel
from headwater.recovery.undo import RESTORES
from headwater.state.diff import diff
from headwater.state.model import Document, validate
from headwater.state.patch import encode_patch
from headwater.state.values import copy_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did: ``target`` was restored, and the agent is at ``version`` now.

    ``before`` is the version that it was at, and ``checkpoint_id`` the checkpoint that keeps it;
    None where there was nothing to do. ``by_reference`` says that the event names the snapshots
    that lead to the state instead of what changes; it has ``size_bytes``.
    """

    agent_id: str
    version: int
    before: int
    target: Recovered = field(repr=False)
    checkpoint_id: str | None = None
    by_reference: bool = False
    size_bytes: int = 0

    @property
    def changed(self) -> bool:
        """Whether there was anything to restore."""
        return self.checkpoint_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The event that a restore would write: ``patch`` None where the state is that one already."""

    trip: Trip
    patch: bytes | None
    by_reference: bool


class Restoring(SessionBase):
    """The part of an owner's session that restores."""

    @property
    def version(self) -> int:
        """Version of the state, with the changes that are in flight."""
        raise NotImplementedError

    def flush(self) -> Settled:
        """Settle what is in flight."""
        raise NotImplementedError

    def settle(self, pending: Pending, level: Level) -> None:
        """Wait until an event counts."""
        raise NotImplementedError

    def send_checkpoint(
        self, type_: str, label: str, metadata: Metadata | None, self_contained: bool = False
    ) -> tuple[Checkpoint, Pending]:
        """Send a checkpoint."""
        raise NotImplementedError

    def _dispatch(
        self, kind: str, patch: bytes, *, block: bool, now_ms: int | None = None
    ) -> Pending:
        raise NotImplementedError

    def restore(self, moment: Moment, *, reason: str = "") -> Restored:
        """Put the state back to what it was at ``moment``: a version, an aware time, or the id of
        a checkpoint or snapshot.

        First settles what is in flight, and keeps the present state by a checkpoint that names
        ``reason``; then writes one RESTORE event. The state, session and request included, equals
        the old one; one of an older state version stays so until the agent is opened the next time.
        Restoring the version from before undoes it. Raises :class:`PointNotFound`,
        :class:`InvalidState` for a moment at which there was no usable state, and errors as
        :meth:`change`.
        """
        self.flush()
        return self.restore_to(travel(self._parts.recovery, self.agent_id, moment), reason=reason)

    def restore_to(self, trip: Trip, *, reason: str = "") -> Restored:
        """:meth:`restore` to a moment that was looked up already."""
        self._body.check_closed()
        before, target = self.version, trip.recovered
        plan = plan_restore(self, self._body.document, trip)
        if plan.patch is None:
            return Restored(agent_id=self.agent_id, version=before, before=before, target=target)
        details = {RESTORES: target.version, **({"reason": reason} if reason else {})}
        label = f"before version {target.version} was restored"
        kept, _ = self.send_checkpoint(CheckpointType.AUTOMATIC.value, label, details)
        # The caller's copy stays as it is when the session goes on.
        self.put(plan.patch, copy_value(target.agent.document))
        return Restored(
            agent_id=self.agent_id,
            version=self.version,
            before=before,
            target=target,
            checkpoint_id=kept.checkpoint_id,
            by_reference=plan.by_reference,
            size_bytes=len(plan.patch),
        )

    def put(self, patch: bytes, document: Document) -> None:
        """Write the RESTORE that makes ``document`` of the state, and work on that."""
        pending = self._dispatch("RESTORE", patch, block=True)
        self._body.install(document)
        self.settle(pending, ACKNOWLEDGED)

    def refer(self, trip: Trip) -> bytes:
        """The patch of a RESTORE that refers to where ``trip`` led."""
        config = self._parts.config
        return refer(trip, self._parts.recovery.fetch, config.max_change_bytes)


def plan_restore(session: Restoring, current: Document, trip: Trip) -> Plan:
    """What restoring ``trip``'s state in place of ``current`` takes."""
    check_usable(trip)
    ops = diff(current, trip.recovered.agent.document)
    if not ops:
        return Plan(trip=trip, patch=None, by_reference=False)
    patch = encode_patch(ops)
    by_reference = len(patch) > session._parts.config.max_change_bytes
    if by_reference:
        patch = session.refer(trip)
    return Plan(trip=trip, patch=patch, by_reference=by_reference)


def check_usable(trip: Trip) -> None:
    """Raises :class:`InvalidState` for a moment at which an agent cannot be put."""
    target = trip.recovered
    try:
        validate(target.agent.document, target.agent_id)
    except InvalidState as error:
        raise InvalidState(
            f"agent {target.agent_id!r} cannot be put to version {target.version}: {error}",
            error.check,
        ) from error
