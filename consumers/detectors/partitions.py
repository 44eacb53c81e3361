"""NETWORK_PARTITION: nodes that live but cannot reach each other, by who sees whom.

Every node probes the others and says in its heartbeats whom it reaches. Two are linked unless one
of them says that it does not reach the other: a link that works one way only is cut, for nothing
can be asked across it. The components of that graph are the sides; the largest is the majority, of
equal ones that with the smallest node id, and each other one a minority. A node that is silent is a
node failure, not a partition. Pure: times are arguments, in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headwater.fleet.pulse import Life
from headwater.fleet.records import FailureEvent, FailureType, NodeMode

from .finding import Finding
from .unionfind import UnionFind

_FRESH_INTERVALS = 3.0
_CONFIRM_LEASES = 1.0
_COMPLETE_S = 1.5
"""At most so far apart are the heartbeats that say who is reached."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A node does not reach another one, as it first said in this heartbeat."""

    by: str
    other: str
    mark: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Sides:
    """The components of who reaches whom, the majority first."""

    majority: frozenset[str]
    minorities: tuple[frozenset[str], ...]


def split(nodes: Mapping[str, Mapping[str, bool]]) -> Sides:
    """The sides of nodes of which each says whom it reaches (True) and whom not (False); those
    that it says nothing of it may reach.
    """
    cut: dict[str, set[str]] = {name: set() for name in nodes}
    for one, peers in nodes.items():
        for other, reachable in peers.items():
            if not reachable and other in cut:
                cut[one].add(other)
                cut[other].add(one)
    sets, apart = UnionFind(nodes), set(nodes)
    while apart:
        # As good as all nodes reach each other: what is left goes down to nothing with the first.
        reached = [apart.pop()]
        while reached and apart:
            one = reached.pop()
            linked = apart - cut[one]
            for other in linked:
                sets.union(one, other)
            apart -= linked
            reached += linked
    found = sets.sets()
    return Sides(found[0] if found else frozenset(), tuple(found[1:]))


def component_of(minority: frozenset[str]) -> str:
    """A partition's name in failures."""
    return f"partition:{','.join(sorted(minority))}"


class NetworkPartitions:
    """Finds partitions among the nodes that live."""

    type = FailureType.NETWORK_PARTITION

    def __init__(self, lives: Mapping[str, Life], interval_s: float, lease_s: float) -> None:
        self._lives = lives
        self._fresh_s = _FRESH_INTERVALS * interval_s
        self._confirm_s = _CONFIRM_LEASES * lease_s
        self._settle_s = lease_s + _COMPLETE_S
        self._cuts: dict[tuple[str, str], Cut] = {}
        self._since: dict[frozenset[str], float] = {}
        self._sides = Sides(frozenset(), ())
        self._settled_s = float("inf")

    def take(self, life: Life) -> None:
        """A complete heartbeat of a node was read."""
        name = life.node_id
        for other, peer in life.peers.items():
            if peer.reachable:
                self._cuts.pop((name, other), None)
            elif (name, other) not in self._cuts:
                mark = f"{life.incarnation.hex()}:{life.beat.sequence}"
                self._cuts[name, other] = Cut(name, other, mark, life.beat.sent_at)

    def _living(self, now_s: float) -> dict[str, dict[str, bool]]:
        living = {
            name: life
            for name, life in self._lives.items()
            if life.mode is not NodeMode.CLIENT and now_s - life.read_s < self._fresh_s
        }
        # A node that has just been started is found unreachable until it was probed once more.
        old = {n for n, life in living.items() if now_s - life.first_s >= self._settle_s}
        return {
            name: {
                other: peer.reachable or not {name, other} <= old
                for other, peer in life.peers.items()
            }
            for name, life in living.items()
        }

    def findings(self, now_s: float) -> Iterator[Finding]:
        """The minorities that have been cut off for a lease."""
        living = self._living(now_s)
        sides = split(living)
        if sides != self._sides:
            self._sides, self._settled_s = sides, now_s
        for pair in [pair for pair in self._cuts if not living.keys() >= set(pair)]:
            del self._cuts[pair]
        self._since = {m: self._since.get(m, now_s) for m in sides.minorities}
        for minority, since_s in self._since.items():
            if now_s - since_s >= self._confirm_s:
                yield from self._finding(minority, sides.majority, living.keys() - minority)

    def _finding(
        self, minority: frozenset[str], majority: frozenset[str], others: set[str]
    ) -> Iterator[Finding]:
        across = [
            cut
            for (by, other), cut in sorted(self._cuts.items())
            if (by in minority and other in others) or (by in others and other in minority)
        ]
        if not across:
            return
        names = ", ".join(sorted(minority))
        yield Finding(
            type=self.type,
            component=component_of(minority),
            mark=(min(cut.mark for cut in across),),
            description=f"{names} cannot be reached by the other {len(others)} nodes",
            first_symptom_at=min(cut.since_ms for cut in across),
            context={
                "minority": sorted(minority),
                "majority": sorted(majority),
                "cut": [[cut.by, cut.other] for cut in across],
            },
        )

    def cleared(self, event: FailureEvent, now_s: float) -> str:
        """Why a partition is over: its links are back, or its sides are others now."""
        if now_s - self._settled_s < self._confirm_s:
            return ""
        minority = frozenset(event.component.partition(":")[2].split(","))
        if minority in self._sides.minorities:
            return ""
        living = self._sides.majority.union(*self._sides.minorities)
        if not minority & living:
            return "none of its nodes is heard of any more"
        if minority & living <= self._sides.majority:
            return "the nodes reach each other again"
        return "the sides are others now"
