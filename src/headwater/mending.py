"""The part of a connection that puts agents right whose states nothing proves any more."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from headwater.agent.claim import Claimant, Claimer
from headwater.agent.releasing import releasing
from headwater.agent.session import Session
from headwater.agent.whole import put_whole
from headwater.clock import wall_ms
from headwater.errors import AgentNotFound, HeadwaterError, InvalidState, Unprovable
from headwater.kafka import clients
from headwater.log.fold import PATCHING, Agent
from headwater.log.records import check_agent_id
from headwater.recovery.derive import (
    Dependencies,
    Derivation,
    Derivations,
    Derive,
    TopicRecords,
)
from headwater.recovery.heads import HeadsOnly
from headwater.recovery.layers import Attempt, Event
from headwater.recovery.search import find_last
from headwater.state.model import AgentState, Document, validate
from headwater.topics import send
from headwater.travelling import Travelling
from headwater.wire import codec

_CLAIM_TIMEOUT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """An event that a repair leaves out, since nothing proves the state that it applied to."""

    offset: int
    kind: str
    sequence: int
    size_bytes: int
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What a repair did, or would do. ``version`` is that of the state that is kept, ``head`` the
    one that nothing proves; they are the same where nothing was broken. ``dropped`` are the events
    between them that the log still holds, which are in dead-letters once it is done.
    """

    agent_id: str
    version: int
    head: int
    dropped: tuple[Dropped, ...] = ()
    tried: tuple[Attempt, ...] = ()

    @property
    def broken(self) -> bool:
        """Whether anything had to be repaired."""
        return self.version != self.head or bool(self.tried and self.tried[-1].refused)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstructed:
    """One agent of a reconstruction: whether its state was ``lost``, and made anew. ``error`` where
    that failed.
    """

    agent_id: str
    lost: bool
    error: HeadwaterError | None = None


class Mending(Travelling):
    """Repair and reconstruction, for :class:`~headwater.client.Client`."""

    _derivations: Derivations

    def repair(
        self,
        agent_id: str,
        *,
        dry_run: bool = False,
        reason: str = "",
        timeout: timedelta = _CLAIM_TIMEOUT,
    ) -> Repaired:
        """Have an agent whose state nothing proves go on from the last state that something does.

        Claims it, waiting as :meth:`agent` does, and appends that state as an event of its own;
        the events that it leaves out go to dead-letters first, and are listed. An agent that can
        be recovered is left alone. Raises :class:`AgentNotFound`.
        """
        self._check()
        try:
            found = self._recovery.recover(check_agent_id(agent_id))
        except Unprovable:
            pass
        else:
            return Repaired(agent_id=agent_id, version=found.version, head=found.version)
        kept, repaired, events = self._last(agent_id)
        if dry_run:
            return repaired
        self._set_aside(agent_id, events, repaired, reason)
        with self._owning_blindly(agent_id, timeout) as session:
            head = kept.head
            put_whole(
                session,
                kept.document,
                agent_id=agent_id,
                version=head.version,
                chain_hash=head.hash,
            )
        return repaired

    def _last(self, agent_id: str) -> tuple[Agent, Repaired, list[Event]]:
        recovery = self._recovery
        partition = recovery.partition_of(agent_id)
        entry, _ = recovery.lookup(partition, agent_id.encode())
        if entry is None:
            raise AgentNotFound(f"agent {agent_id!r} is not in the index")
        agent, search, events = find_last(recovery, partition, entry, recovery.sources)
        left = [
            event
            for event in events.own
            if event.change.kind in PATCHING and event.change.sequence > agent.head.sequence
        ]
        dropped = tuple(
            Dropped(
                offset=event.offset,
                kind=event.change.kind,
                sequence=event.change.sequence,
                size_bytes=len(event.value),
                created_at=event.change.created_at,
            )
            for event in left
        )
        repaired = Repaired(
            agent_id=agent_id,
            version=agent.head.version,
            head=entry.head.version,
            dropped=dropped,
            tried=tuple(search.tried),
        )
        return agent, repaired, left

    def _set_aside(
        self, agent_id: str, events: Iterable[Event], repaired: Repaired, why: str
    ) -> None:
        config, partition = self._parts.config, self._recovery.partition_of(agent_id)
        producer = clients.producer(config)
        reason = (
            f"left out by a repair of agent {agent_id!r}, which went on from version "
            f"{repaired.version}: nothing proves the state that this applied to"
            + (f" ({why})" if why else "")
        )
        for event in events:
            record = {
                "topic": config.topic("events"),
                "partition": partition,
                "offset": event.offset,
                "reason": reason,
                "key": agent_id.encode(),
                "value": event.value,
                "headers": [],
                "found_at": wall_ms(),
            }
            send(producer, config, "dead-letters", codec("DeadLetter").encode(record))

    @contextmanager
    def _owning_blindly(self, agent_id: str, timeout: timedelta) -> Iterator[Session]:
        """Own an agent by its head alone."""
        parts = self._parts
        heads = HeadsOnly(parts.config, self._recovery.partitions)
        try:
            claimer = Claimer(heads, parts.lease, parts.live_nonces)
            blind = dataclasses.replace(parts, recovery=heads, claimer=claimer)
            who = Claimant(agent_id=agent_id, session_id="repair", request_id=None)
            session = Session(blind, who, claimer.claim(who, "wait", timeout.total_seconds()))
            with releasing(session):
                yield session
        finally:
            heads.close()

    def derive(
        self,
        agent_id: str,
        derive: Derive,
        *,
        agents: Iterable[str] = (),
        topics: Iterable[str] = (),
    ) -> None:
        """Declare that an agent's state derives from others: ``derive`` makes it from
        :class:`Dependencies`, the states of ``agents`` and the records of ``topics``.

        It is asked where nothing else proves the state; what it gives is taken if it is the state
        that the log names, and :meth:`reconstruct` makes a change of it otherwise. Declared for
        this connection. Raises :class:`ConfigError` where states would derive from each other.
        """
        self._check()
        self._derivations.declare(
            Derivation(agent_id=agent_id, agents=tuple(agents), topics=tuple(topics), derive=derive)
        )

    def reconstruct(self, agent_ids: Iterable[str] | None = None) -> list[Reconstructed]:
        """Make the lost ones of the agents that :meth:`derive` declared (None: all of them), and
        of those that they derive from, anew: what others derive from first.

        An agent is lost if the log does not know it, or nothing proves its state. One that cannot
        be made anew does not hold up those that do not derive from it.
        """
        self._check()
        return [self._reconstruct(d) for d in self._derivations.ordered(agent_ids)]

    def _reconstruct(self, derivation: Derivation) -> Reconstructed:
        agent_id = derivation.agent_id
        try:
            self._recovery.recover(agent_id)
        except AgentNotFound:
            known = False
        except Unprovable:
            known = True
        except HeadwaterError as error:
            return Reconstructed(agent_id=agent_id, lost=False, error=error)
        else:
            return Reconstructed(agent_id=agent_id, lost=False)
        try:
            document = self._derived(derivation)
            self._put_derived(agent_id, document, blindly=known)
        except HeadwaterError as error:
            return Reconstructed(agent_id=agent_id, lost=True, error=error)
        return Reconstructed(agent_id=agent_id, lost=True)

    def _put_derived(self, agent_id: str, document: Document, *, blindly: bool) -> None:
        owned = (
            self._owning_blindly(agent_id, _CLAIM_TIMEOUT)
            if blindly
            else releasing(self._own(agent_id, None, _CLAIM_TIMEOUT))
        )
        with owned as session:
            put_whole(session, document, agent_id=agent_id, version=0, chain_hash=None)

    def _rebuild(self, agent_id: str) -> Document | None:
        """What a recovery asks for where nothing else proves a state."""
        derivation = self._derivations.get(agent_id)
        return None if derivation is None else self._derived(derivation)

    def _derived(self, derivation: Derivation) -> Document:
        agent_id = derivation.agent_id
        given = Dependencies(
            agents={name: self._recovery.recover(name).state for name in derivation.agents},
            topics={name: TopicRecords(self._parts.config, name) for name in derivation.topics},
        )
        try:
            state = derivation.derive(given)
        except HeadwaterError:
            raise
        except Exception as error:  # whatever the user's code trips over
            raise InvalidState(
                f"deriving the state of agent {agent_id!r} failed: {error!r}", "derive"
            ) from error
        if type(state) is not AgentState:
            raise InvalidState(
                f"deriving the state of agent {agent_id!r} gave a {type(state).__name__}, "
                "not an AgentState", "derive",
            )  # fmt: skip
        document = state.to_document()
        document["session_id"] = document["session_id"] or "reconstructed"
        validate(document, agent_id)
        return document
