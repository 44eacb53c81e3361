"""Finds a proof of an agent's state where its indexed chain fails: layer by layer, newest first.

Every layer gives *bases*, states that stand by themselves (full snapshots and what refers to
them), and *steps*, increments that lead from one head to another. A base counts only if steps, or
the agent's own events, lead from it to the head that the index names: then it is proved by
checksums and by the hash chain, wherever it was kept. All else is refused, and listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headwater.errors import HeadwaterError, RetryableError, Unprovable
from headwater.log.fold import Agent, Head, fold, new_agent
from headwater.log.origin import Resolve
from headwater.log.records import StateChange
from headwater.log.snapshots import INCREMENTAL, PROOF_ERRORS, Snapshot, extend_agent, start_agent
from headwater.state.model import state_hash

NEWEST = "newest snapshot"
OLDER = "older snapshot"
CHECKPOINT = "checkpoint"
REPLICA = "replica"
BACKUP = "backup"
EVENTS = "events"
DEPENDENCIES = "dependencies"
LAYERS = (NEWEST, OLDER, CHECKPOINT, REPLICA, BACKUP, EVENTS, DEPENDENCIES)
"""The order in which they are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One thing that a recovery tried: of which layer, from which version, and why it was refused
    (None: it was not, the state is from there).
    """

    layer: str
    version: int | None
    refused: str | None

    def __str__(self) -> str:
        where = self.layer if self.version is None else f"{self.layer} at version {self.version}"
        return f"{where}: {self.refused or 'proved'}"


class Source(Protocol):
    """A place outside the cluster that holds snapshots: a replica, or a backup."""

    @property
    def layer(self) -> str:
        """:data:`REPLICA` or :data:`BACKUP`."""

    def find(self, agent_id: str) -> Iterable[Snapshot]:
        """The agent's snapshots, in any order. Raises Headwater's errors."""

    def close(self) -> None:
        """Give connections up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One of the agent's own records, its offset, and its bytes."""

    offset: int
    change: StateChange
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The agent's own records from offset ``first`` on, which is where the log begins now."""

    first: int
    own: Sequence[Event]


@dataclass(slots=True)
class Search:
    """One search for a state at ``head``.

    ``snapshot_hash`` is the chain hash that the agent's snapshots lead to. Snapshots are offered
    layer by layer (:meth:`offer`), and :meth:`climb` tries what has come so far.
    """

    head: Head
    snapshot_hash: bytes
    resolve: Resolve
    tried: list[Attempt] = field(default_factory=list)
    steps: dict[tuple[int, bytes], list[Snapshot]] = field(default_factory=dict)
    bases: list[tuple[str, Snapshot]] = field(default_factory=list)
    furthest: Agent | None = None

    def offer(self, layer: str, snapshots: Iterable[Snapshot]) -> None:
        """Take in what a layer has; the bases of one layer are tried newest first."""
        found = []
        for snapshot in snapshots:
            if snapshot.agent_id != self.head.agent_id or snapshot.to_version > self.head.version:
                continue
            if snapshot.kind == INCREMENTAL:
                start = snapshot.from_version, snapshot.from_hash
                self.steps.setdefault(start, []).append(snapshot)
            else:
                found.append((layer, snapshot))
        self.bases += sorted(found, key=lambda base: -base[1].to_version)

    def climb(self, events: Events) -> Agent | None:
        """The agent at the head, from the first base that leads there. The others are refused;
        ``furthest`` keeps the one that came furthest.
        """
        bases, self.bases = self.bases, []
        for layer, base in bases:
            agent, refused = self._climb(base, events)
            self.tried.append(Attempt(layer=layer, version=base.to_version, refused=refused))
            if refused is None:
                return agent
            if agent is not None and agent.head.version > self.reached:
                self.furthest = agent
        return None

    @property
    def reached(self) -> int:
        """Version of :attr:`furthest`; -1 where nothing was proved at all."""
        return -1 if self.furthest is None else self.furthest.head.version

    def _climb(self, base: Snapshot, events: Events) -> tuple[Agent | None, str | None]:
        """The agent as far as it came from ``base``, and why no further; None where it did."""
        try:
            agent = start_agent(base, self.resolve)
            if base.state_hash not in (None, state_hash(base.agent_id, agent.document)):
                return None, "its state is not the one that its hash stands for"
        except RetryableError:
            raise
        except HeadwaterError as error:
            return None, str(error)
        behind, trouble = base.events_offset, ""
        while agent.head.hash != self.snapshot_hash:
            following, trouble = self._next(agent)
            if following is None:
                break
            behind = following.events_offset
        else:
            return _at(agent, self.head), None
        return follow(agent, behind, events, self.head, trouble)

    def _next(self, agent: Agent) -> tuple[Snapshot | None, str]:
        trouble = ""
        steps = self.steps.get((agent.head.version, agent.head.hash), ())
        for step in sorted(steps, key=lambda s: -s.to_version):
            try:
                extend_agent(agent, step)
            except PROOF_ERRORS as error:
                trouble = str(error)
            else:
                return step, ""
        return None, trouble


def follow(
    agent: Agent, behind: int, events: Events, head: Head, trouble: str = ""
) -> tuple[Agent, str | None]:
    """``agent``, which holds every record below offset ``behind``, after its events, and why they
    do not lead to ``head``; None where they do.
    """
    for event in _from(events.own, behind):
        if agent.head.hash == head.hash:
            break
        try:
            fold(agent, event.change)
        except PROOF_ERRORS as error:
            return agent, f"{trouble} {error}".lstrip()
    if agent.head.hash == head.hash:
        return _at(agent, head), None
    reason = f"events lead from there to version {agent.head.version}, not to {head.version}"
    if behind < events.first:
        reason += f" (those before offset {events.first} were deleted)"
    return agent, f"{trouble}; {reason}" if trouble else reason


def whole_replay(events: Events, head: Head, resolve: Resolve) -> tuple[Agent, str | None]:
    """The agent from its very first event on, and why that does not lead to ``head``."""
    if events.first > 0:
        return new_agent(head.agent_id), f"events before offset {events.first} were deleted"
    return follow(new_agent(head.agent_id, resolve), 0, events, head)


def _from(own: Sequence[Event], offset: int) -> Iterator[Event]:
    return (event for event in own if event.offset >= offset)


def _at(agent: Agent, head: Head) -> Agent:
    return Agent(head, agent.document, agent.inapplicable, agent.resolve)


def unprovable(head: Head, tried: Sequence[Attempt]) -> Unprovable:
    """What to tell where no layer proves a state."""
    listed = [str(attempt) for attempt in tried]
    return Unprovable(
        f"agent {head.agent_id!r}: nothing proves version {head.version}: {'; '.join(listed)}. "
        f"`headwater repair {head.agent_id}` keeps the last state that can be proved",
        listed,
    )
