"""The part of a connection that looks into agents' pasts, and goes back there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from headwater.agent.parts import Parts
from headwater.agent.releasing import releasing
from headwater.agent.restore import Restored, check_usable
from headwater.agent.session import Session
from headwater.errors import AgentExists, AgentOwned
from headwater.log.checkpoints import Checkpoint
from headwater.log.records import check_agent_id
from headwater.recovery import Recovered, Recovery
from headwater.recovery.listing import SnapshotInfo, list_snapshots
from headwater.recovery.travel import Moment, at, travel
from headwater.recovery.undo import before_last_restore
from headwater.state.compare import Difference, compare

_CLAIM_TIMEOUT = timedelta(seconds=30)


class Travelling:
    """Time travel, for :class:`~headwater.client.Client`."""

    _parts: Parts
    _recovery: Recovery

    def _check(self) -> None:
        raise NotImplementedError

    def _own(self, agent_id: str, session: str | None, timeout: timedelta | None) -> Session:
        """Own an agent; with ``timeout`` None, only where nobody does."""
        raise NotImplementedError

    def at(self, agent_id: str, moment: Moment) -> Recovered:
        """The agent as it was at ``moment``: a version (0 is before any change), an aware time,
        or the id of a checkpoint or snapshot.

        Proved like any recovery, and as the log has it, of whatever state version. Raises
        :class:`AgentNotFound`, :class:`PointNotFound`, which says what can be had instead, and
        :class:`Unprovable`.
        """
        self._check()
        return at(self._recovery, check_agent_id(agent_id), moment)

    def snapshots(
        self, agent_id: str, *, session: str | None = None, limit: int = 10
    ) -> list[SnapshotInfo]:
        """The agent's snapshots, newest first: of each session (or of ``session`` alone) the last
        ``limit``, none older than the log keeps them. Raises :class:`AgentNotFound`.
        """
        self._check()
        return list_snapshots(self._recovery, check_agent_id(agent_id), session, limit)

    def diff(self, agent_id: str, a: Moment, b: Moment) -> Difference:
        """What is different at ``b`` from what was at ``a``, place by place; as :meth:`at`."""
        before, after = self.at(agent_id, a), self.at(agent_id, b)
        documents = before.agent.document, after.agent.document
        return compare(*documents, before=before.version, after=after.version)

    def fork(
        self, agent_id: str, at: Moment, new_id: str, *, session: str | None = None
    ) -> Recovered:
        """Begin the agent ``new_id`` with the state that ``agent_id`` has or had at a moment.

        Copy-on-write: its log refers to the snapshots that lead there, which are kept for it
        whatever becomes of the other agent. Raises :class:`AgentExists` where there is a
        ``new_id`` already, :class:`InvalidState` for a moment without a usable state, and errors
        as :meth:`at`.
        """
        self._check()
        check_agent_id(new_id)
        trip = travel(self._recovery, check_agent_id(agent_id), at)
        check_usable(trip)
        with self._beginning(new_id, session) as opened:
            opened.put(opened.refer(trip), trip.recovered.agent.document)
        return self._recovery.recover(new_id)

    @contextmanager
    def _beginning(self, new_id: str, session: str | None) -> Iterator[Session]:
        """Own an agent that there was not; :class:`AgentExists` where there is one."""
        known = self._recovery.look(new_id).head
        if known.exists:
            raise _exists(new_id)
        try:
            owned = self._own(new_id, session, None)
        except AgentOwned as error:
            raise _exists(new_id) from error
        with releasing(owned) as opened:
            if opened.recovered.head.sequence != known.sequence + 1:
                raise _exists(new_id)
            yield opened

    def restore(
        self,
        agent_id: str,
        moment: Moment,
        *,
        session: str | None = None,
        reason: str = "",
        timeout: timedelta = _CLAIM_TIMEOUT,
    ) -> Restored:
        """Put an agent back to a moment: claims it, waiting as :meth:`agent` does, restores, and
        gives it up; see :meth:`Session.restore`.
        """
        self._check()
        # Looked up before the claim: an agent that is not there is not made by this.
        trip = travel(self._recovery, check_agent_id(agent_id), moment)
        with releasing(self._own(agent_id, session, timeout)) as opened:
            return opened.restore_to(trip, reason=reason)

    def before_restore(self, agent_id: str) -> Checkpoint:
        """The checkpoint that an agent's last restore left behind; :class:`PointNotFound` where
        no restore is known.
        """
        self._check()
        return before_last_restore(self._recovery, check_agent_id(agent_id))

    def undo_restore(
        self,
        agent_id: str,
        *,
        session: str | None = None,
        reason: str = "",
        timeout: timedelta = _CLAIM_TIMEOUT,
    ) -> Restored:
        """Put an agent back to what it was before its last restore. Undoing that does it again.

        Raises :class:`PointNotFound` where no restore is known.
        """
        kept = self.before_restore(agent_id)
        return self.restore(
            agent_id, kept.checkpoint_id, session=session, reason=reason or "undo", timeout=timeout
        )


def _exists(agent_id: str) -> AgentExists:
    return AgentExists(f"there is an agent {agent_id!r} already; delete it, or choose another name")
