"""A process's connection to Headwater: sessions, reads, recovery."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, overload

from headwater.agent.claim import Claimant, Claimer, ClaimPolicy
from headwater.agent.hearing import Hearing
from headwater.agent.lease import Lease
from headwater.agent.parts import Parts
from headwater.agent.publisher import Publisher
from headwater.agent.session import Session
from headwater.agent.takeover import Opened, Taken, Takeover
from headwater.agent.unclaimed import UnclaimedSession
from headwater.agent.upgrade import upgrade as upgrade_session
from headwater.agent.watch import watch
from headwater.config import Config
from headwater.errors import ForkedProcess, HeadwaterError, SessionClosed
from headwater.keeping import Keeping
from headwater.locating import Locating
from headwater.log.records import check_agent_id
from headwater.mending import Mending
from headwater.migrations import Migrations
from headwater.recovery import Failed, Recovered, Recovery
from headwater.recovery.bulk import agent_ids, recover_many
from headwater.recovery.calibrate import Predictor
from headwater.recovery.derive import Derivations
from headwater.recovery.predict import FleetPrediction, Prediction
from headwater.topics import connect_topics

log = logging.getLogger("headwater.client")

_CLAIM_TIMEOUT = timedelta(seconds=30)


class Client(Keeping, Mending, Locating):
    """One process's connection: made by :func:`headwater.connect`, safe for several threads.

    Holds one producer for all agents; heartbeats begin with the first claim.
    """

    def __init__(
        self,
        config: Config,
        *,
        follow_index: bool = False,
        migrations: Migrations | None = None,
    ) -> None:
        self.config = config
        self._migrations = migrations
        self.partitions = connect_topics(config)
        self._lease = Lease(config)
        self._publisher = Publisher(config)
        self._recovery = Recovery(config, self.partitions, follow_index)
        self._recovery.rebuild = self._rebuild
        self._derivations = Derivations()
        self._predictor = Predictor(self._recovery)
        live: set[bytes] = set()
        self._parts = Parts(
            config=config,
            recovery=self._recovery,
            lease=self._lease,
            publisher=self._publisher,
            claimer=Claimer(self._recovery, self._lease, live),
            live_nonces=live,
            state_version=migrations.current if migrations is not None else None,
        )
        self._sessions: weakref.WeakSet[Session | UnclaimedSession] = weakref.WeakSet()
        self._blocked: HeadwaterError | None = None
        self._close_lock = threading.Lock()
        self._routes_lock = threading.Lock()
        _clients.add(self)

    @property
    def node_id(self) -> str:
        """The name under which this process owns agents."""
        return self._lease.node_id

    @property
    def lease(self) -> Lease:
        """This process's lease."""
        return self._lease

    def open(
        self,
        agent_id: str,
        *,
        session: str | None = None,
        request: str | None = None,
        claim: ClaimPolicy | None = "wait",
        timeout: timedelta = _CLAIM_TIMEOUT,
    ) -> Session | UnclaimedSession:
        """:meth:`agent` without the block: end it with ``release()``."""
        opened = self._open(agent_id, session, request, claim, timeout)
        if self._migrations is not None:
            try:
                upgrade_session(opened, self._migrations)
            except BaseException:
                self._give_up(opened)
                raise
        return opened

    def _open(
        self,
        agent_id: str,
        session: str | None,
        request: str | None,
        claim: ClaimPolicy | None,
        timeout: timedelta,
    ) -> Session | UnclaimedSession:
        self._check()
        check_agent_id(agent_id)
        who = Claimant(
            agent_id=agent_id,
            session_id=session or f"session-{secrets.token_hex(6)}",
            request_id=request,
        )
        opened: Session | UnclaimedSession
        if claim is None:
            opened = UnclaimedSession(self._parts, who, self._recovery.look(agent_id))
        else:
            won = self._parts.claimer.claim(who, claim, timeout.total_seconds())
            opened = Session(self._parts, who, won)
        self._sessions.add(opened)
        return opened

    def open_many(
        self,
        agent_ids: Iterable[str],
        *,
        timeout: timedelta = _CLAIM_TIMEOUT,
        replicas: Mapping[str, Recovered] | None = None,
        hearing: Hearing | None = None,
        ours: bool = False,
    ) -> Iterator[Opened]:
        """:meth:`open` for many agents, each as soon as it is free: one watch over the owners'
        heartbeats, and claims that travel together.

        An agent goes on with the session that it was in. ``replicas`` are agents as they were read
        before, the caller's no longer: only what has come since is read. ``hearing`` is one that
        the caller feeds already; without it the owners' leases count from now. ``ours``: those
        alone that the log has as this process's, whose sessions were disowned. What goes wrong
        with one agent does not hold the others up.
        """
        self._check()
        names = dict.fromkeys(map(check_agent_id, agent_ids))
        takeover = Takeover(self._recovery, self._lease, self._parts.claimer, hearing)
        taken = takeover.run(names, _goes_on, timeout.total_seconds(), replicas or {}, ours=ours)
        for each in taken:
            yield self._opened(each)

    def _opened(self, taken: Taken) -> Opened:
        agent_id = taken.who.agent_id
        if taken.claim is None:
            return Opened(agent_id=agent_id, error=taken.error)
        session = Session(self._parts, taken.who, taken.claim)
        self._sessions.add(session)
        if self._migrations is not None:
            try:
                upgrade_session(session, self._migrations)
            except HeadwaterError as error:
                self._give_up(session)
                return Opened(agent_id=agent_id, error=error)
        return Opened(agent_id=agent_id, session=session)

    @overload
    @contextmanager
    def agent(
        self,
        agent_id: str,
        *,
        session: str | None = None,
        request: str | None = None,
        claim: ClaimPolicy = "wait",
        timeout: timedelta = _CLAIM_TIMEOUT,
    ) -> Iterator[Session]: ...

    @overload
    @contextmanager
    def agent(
        self,
        agent_id: str,
        *,
        session: str | None = None,
        request: str | None = None,
        claim: Literal[None],
        timeout: timedelta = _CLAIM_TIMEOUT,
    ) -> Iterator[UnclaimedSession]: ...

    @contextmanager
    def agent(self, agent_id: str, **options: Any) -> Iterator[Session | UnclaimedSession]:
        """Recover an agent, or begin a new one, and own it for the length of the block.

        ``claim="wait"`` waits up to ``timeout`` until nobody else owns it (its owner gave it up,
        or its lease ran out), ``"refuse"`` does not wait, ``"steal"`` asks the node that owns it
        to give it up, and waits; all raise :class:`AgentOwned`.
        ``None`` claims nothing: each change is a compare-and-set. ``session`` defaults to a new
        name. The block's end settles what is in flight and gives the agent up.
        """
        opened = self.open(agent_id, **options)
        try:
            yield opened
        except BaseException:
            self._give_up(opened)
            raise
        opened.release()

    @staticmethod
    def _give_up(opened: Session | UnclaimedSession) -> None:
        try:
            opened.release()
        except HeadwaterError as error:
            # What ended the session is what to tell.
            log.warning("agent %s was not given up: %s", opened.agent_id, error)

    def _own(self, agent_id: str, session: str | None, timeout: timedelta | None) -> Session:
        """Own an agent, its state as it is; with ``timeout`` None, only where nobody does."""
        claim: ClaimPolicy = "refuse" if timeout is None else "wait"
        opened = self._open(agent_id, session, None, claim, timeout or _CLAIM_TIMEOUT)
        assert isinstance(opened, Session)
        return opened

    def get(self, agent_id: str, *, upgrade: bool = True) -> Recovered:
        """The agent as of the end of the log, without claiming it; it may change meanwhile.

        ``upgrade`` as in :meth:`recover`. Raises :class:`AgentNotFound`, and :class:`Unprovable`
        where the log proves no state.
        """
        return self.recover(agent_id, upgrade=upgrade)

    def recover(self, agent_id: str, *, upgrade: bool = True) -> Recovered:
        """Read the agent back from index, snapshots and tail, proving each; see
        :class:`Recovered` for what it says about that.

        A state of an older version is upgraded in memory, nothing is published; without
        ``upgrade`` it is as the log has it. Raises :class:`StateTooNew` and
        :class:`UpgradeFailed`.
        """
        self._check()
        recovered = self._recovery.recover(check_agent_id(agent_id))
        return self._upgraded(recovered) if upgrade else recovered

    def _upgraded(self, recovered: Recovered) -> Recovered:
        return recovered if self._migrations is None else self._migrations.upgraded(recovered)

    def recover_many(self, agent_ids: Iterable[str] | None = None) -> Iterator[Recovered | Failed]:
        """Recover each of ``agent_ids`` (None: every agent), in the log's order; states upgraded
        as in :meth:`recover`.
        """
        self._check()
        found = recover_many(self._recovery, agent_ids)
        migrations = self._migrations
        return found if migrations is None else (migrations.upgraded_or_failed(f) for f in found)

    def agents(self) -> Iterator[str]:
        """The ids of all agents, partition by partition."""
        self._check()
        return agent_ids(self._recovery)

    def predict(self, agent_id: str) -> Prediction:
        """What recovering the agent now would read, and the time that this predicts.

        The first prediction of a connection recovers some agents, for about a second, to measure
        its rates. Raises :class:`AgentNotFound`.
        """
        self._check()
        return self._predictor.predict(check_agent_id(agent_id))

    def predict_fleet(self) -> FleetPrediction:
        """The prediction for each agent in the index, and for recovering all of them at once."""
        self._check()
        return self._predictor.fleet()

    def watch(self, agent_id: str, *, timeout: timedelta | None = None) -> Iterator[Recovered]:
        """The agent now, and again after each change, until it is deleted; without claiming it.

        With ``timeout`` it ends once nothing has changed for so long.
        """
        self._check()
        seen = watch(self._recovery, check_agent_id(agent_id), timeout)
        return (self._upgraded(recovered) for recovered in seen)

    def delete(self, agent_id: str, *, timeout: timedelta = _CLAIM_TIMEOUT) -> None:
        """End an agent's life: claims it, waiting as :meth:`agent` does, and deletes it."""
        self.recover(agent_id, upgrade=False)
        self._own(agent_id, None, timeout).delete()

    def close(self) -> None:
        """Wait for what is in flight, and give everything back. Agents still open are not given
        up: their lease runs out.
        """
        with self._close_lock:
            if self._blocked is not None:
                return
            self._block(SessionClosed("this connection was closed"))
        left = self._publisher.close(self.config.send_timeout.total_seconds())
        if left:
            log.error("%d changes were never acknowledged", left)
        self._lease.stop()
        self._stop_locating()
        self._recovery.close()

    def _check(self) -> None:
        if self._blocked is not None:
            raise self._blocked

    def _block(self, error: HeadwaterError) -> None:
        self._blocked = error
        for session in list(self._sessions):
            session.block(error)

    def _after_fork(self) -> None:
        # librdkafka's threads do not exist in the child, and its sockets are the parent's.
        self._block(
            ForkedProcess(
                f"this connection belongs to process {os.getppid()}; a forked process "
                "must make its own with headwater.connect()"
            )
        )


def _goes_on(recovered: Recovered) -> Claimant:
    """Who claims an agent that somebody else ran: the session that it is in."""
    session = recovered.agent.document["session_id"] or f"session-{secrets.token_hex(6)}"
    return Claimant(agent_id=recovered.agent_id, session_id=session, request_id=None)


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _block_inherited() -> None:
    for client in list(_clients):
        client._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_block_inherited)
