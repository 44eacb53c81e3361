"""NODE_FAILURE: a node whose heartbeats have ended, by phi-accrual, with a canary for each
partition.

A node has failed once its silence is *proved* (a canary sent after it has come back, see
:class:`~.health.Canary`) to be longer than all of these:

- what phi-accrual allows by how regular its heartbeats were (:mod:`.phi`), but no more than two
  and a half leases: what was never regular must still be found out;
- its lease and a quarter of an interval: until then nobody could take its agents over anyway;
- a bit more than the worst gap of late;

all of it stretched while the detector itself is late, and longer after the brokers held up what was
written. A process that another one follows under its name, though it had not said that it was
leaving, has failed as well, and needs no proof. Pure: times are arguments, in seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from headwater.fleet.records import FailureEvent, FailureType, Heartbeat, NodeMode

from .finding import Finding
from .health import Canary, LocalHealth
from .phi import THRESHOLD, Arrivals

_BEATS_A_LEASE = 3
_LONGEST_LEASES = 2.5
_WORSE = 1.3


@dataclass(slots=True)
class Watched:
    """A node and its silence. ``away_s``: how long the detector had been away altogether when the
    last heartbeat came.
    """

    partition: int
    arrivals: Arrivals
    beat: Heartbeat
    lease_s: float
    away_s: float


def component_of(node_id: str) -> str:
    """A node's name in failures."""
    return f"node:{node_id}"


class NodeFailures:
    """Finds nodes that have gone silent.

    ``canaries`` are those of the partitions, ``health`` the detector's own; ``has_work`` says
    whether the process of a node (its incarnation in hexadecimal digits) still has agents that
    nobody else took over.
    """

    type = FailureType.NODE_FAILURE

    def __init__(
        self,
        canaries: Mapping[int, Canary],
        health: LocalHealth,
        has_work: Callable[[str, str], bool],
        threshold: float = THRESHOLD,
    ) -> None:
        self._canaries = canaries
        self._health = health
        self._has_work = has_work
        self._threshold = threshold
        self._nodes: dict[str, Watched] = {}
        # By when to look at a node again. One entry each, made anew when its time has come: so a
        # heartbeat costs no look at the others. The number only tells equal times apart.
        self._heap: list[tuple[float, int, Watched]] = []
        self._entries = count()
        self._suspects: set[str] = set()
        self._away_s = 0.0
        self._crashed: dict[str, Finding] = {}
        self.failed: dict[str, Finding] = {}
        self.found = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def take(self, beat: Heartbeat, partition: int, now_s: float) -> None:
        """A node's heartbeat was read, of the process that counts under its name."""
        node_id = beat.node_id
        if beat.mode is NodeMode.CLIENT:
            return
        node = self._nodes.get(node_id)
        if node is None or node.beat.incarnation != beat.incarnation:
            self.forget(node_id)
            if node is not None and node.beat.mode is not NodeMode.DRAINING:
                what = "was started again; the process before it did not stop"
                self._crashed[node_id] = self._finding(node_id, node, now_s, what)
                self.found += 1
            lease_s = beat.lease_ms / 1000
            arrivals = Arrivals(lease_s / _BEATS_A_LEASE, now_s)
            self._nodes[node_id] = node = Watched(partition, arrivals, beat, lease_s, self._away_s)
            self._look_later(node, now_s + lease_s)
            return
        if node_id in self.failed or node_id in self._suspects:
            self._look_later(node, now_s + node.lease_s)
        self.failed.pop(node_id, None)
        self._suspects.discard(node_id)
        node.beat = beat
        held_up = self._canaries[partition].allowance_s(now_s) > 0 or self._away_s > node.away_s
        node.arrivals.beat(now_s, learn=not held_up)
        node.away_s = self._away_s

    def was_away(self, late_s: float) -> None:
        """The detector itself was away for so long until now: that is nobody's silence."""
        self._away_s += late_s
        for canary in self._canaries.values():
            canary.forget()

    def _look_later(self, node: Watched, at_s: float) -> None:
        heapq.heappush(self._heap, (at_s, next(self._entries), node))

    def forget(self, node_id: str) -> None:
        """Watch a node no more."""
        self._nodes.pop(node_id, None)
        self._suspects.discard(node_id)
        self.failed.pop(node_id, None)

    def patience_s(self, node: Watched, now_s: float) -> float:
        """How long a node may be silent."""
        arrivals, lease_s = node.arrivals, node.lease_s
        usual_s = max(
            min(arrivals.patience_s(self._threshold), _LONGEST_LEASES * lease_s),
            lease_s * (1 + 1 / (4 * _BEATS_A_LEASE)),
            min(_WORSE * arrivals.worst_s, _LONGEST_LEASES * lease_s),
        )
        allowance_s = self._canaries[node.partition].allowance_s(now_s)
        return usual_s * self._health.stretch + allowance_s

    def _due_s(self, node: Watched, now_s: float) -> float:
        away_s = self._away_s - node.away_s
        return node.arrivals.last_s + away_s + self.patience_s(node, now_s)

    def next_s(self) -> float:
        """When the next node has to be looked at."""
        return self._heap[0][0] if self._heap else float("inf")

    def look(self, now_s: float) -> set[int]:
        """Find the nodes that have failed by now; the partitions that need a canary to be sent,
        for the silence of others to be proved.
        """
        while self._heap and self._heap[0][0] <= now_s:
            node = heapq.heappop(self._heap)[-1]
            node_id = node.beat.node_id
            if self._nodes.get(node_id) is not node:
                continue
            due_s = self._due_s(node, now_s)
            if due_s <= now_s:
                self._suspects.add(node_id)
            else:
                self._look_later(node, due_s)
        wanted = set()
        for node_id in tuple(self._suspects):
            partition = self._judge(node_id, self._nodes[node_id], now_s)
            if partition is not None:
                wanted.add(partition)
        return wanted

    def _judge(self, node_id: str, node: Watched, now_s: float) -> int | None:
        canary, due_s = self._canaries[node.partition], self._due_s(node, now_s)
        if due_s > now_s:
            return None
        if canary.proven_s < due_s:
            return None if canary.sent_s >= due_s else node.partition
        self._suspects.discard(node_id)
        leaving = node.beat.mode is NodeMode.DRAINING
        if leaving and not self._has_work(node_id, node.beat.incarnation.hex()):
            self.forget(node_id)
        else:
            self.failed[node_id] = self._finding(node_id, node, now_s)
            # That was told of; told again after this, it would be news.
            self._crashed.pop(node_id, None)
            self.found += 1
        return None

    def _finding(self, node_id: str, node: Watched, now_s: float, what: str = "") -> Finding:
        silent_ms = round((now_s - node.arrivals.last_s) * 1000)
        beat = node.beat
        return Finding(
            type=self.type,
            component=component_of(node_id),
            mark=(beat.incarnation.hex(), str(beat.sequence)),
            description=f"node {node_id} {what or f'has not been heard of for {silent_ms} ms'}",
            first_symptom_at=beat.sent_at,
            context={
                "node_id": node_id,
                "incarnation": beat.incarnation.hex(),
                "sequence": beat.sequence,
                "last_beat_at": beat.sent_at,
                "silent_ms": silent_ms,
                "allowed_ms": round(self.patience_s(node, now_s) * 1000),
                "phi": round(min(node.arrivals.phi(now_s), 1e6), 1),
                "stretch": self._health.stretch,
                "mode": beat.mode.value,
                "address": beat.address,
            },
        )

    def findings(self, now_s: float) -> Iterator[Finding]:
        """The nodes that have failed and not been heard of since, and of those that were started
        again the process before.
        """
        yield from self.failed.values()
        yield from self._crashed.values()

    def cleared(self, event: FailureEvent, now_s: float) -> str:
        """Why a failure in the log is over; empty while it is not, or nobody knows."""
        node_id = event.component.partition(":")[2]
        node = self._nodes.get(node_id)
        if node is None:
            return ""
        # Even if it has failed once more since: that is another failure then.
        failed = str(event.context.get("incarnation", ""))
        if node.beat.incarnation.hex() != failed:
            later = self.failed.get(node_id) or self._crashed.get(node_id)
            if later is not None and later.context["incarnation"] != failed:
                return f"node {node_id} was started again, and failed again"
            # Of its agents it leaves those alone that may be to blame.
            waiting = self._has_work(node_id, failed)
            return "" if waiting else f"node {node_id} was started again"
        if node.beat.sequence > int(event.context.get("sequence", -1)):
            return f"node {node_id} is heard of again"
        return ""
