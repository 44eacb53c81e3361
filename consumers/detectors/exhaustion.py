"""RESOURCE_EXHAUSTION: a node that is running out of memory, disk or file descriptors.

By level, and by when it will be full at the pace of late (the Theil-Sen slope, which a few wild
samples do not move): from heartbeats for what is quick, from the metrics of minutes for what leaks
slowly. Pure: times come from the records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from headwater.fleet.pulse import Life
from headwater.fleet.records import FailureEvent, FailureType, Metric, NodeMode, Resources, Severity

from .finding import Finding
from .nodes import component_of as node_component
from .robust import rising, slope


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """From when on a share of a resource is too much. ``over`` is what a failure must fall below
    to be over; ``horizon_s`` how soon is soon, by a trend over ``points`` samples at most.
    """

    high: float = 0.85
    critical: float = 0.95
    over: float = 0.80
    trend_from: float = 0.5
    horizon_s: float = 60.0
    points: int = 30


QUICK = Levels()
"""Of heartbeats, a second apart."""

SLOW = Levels(horizon_s=900.0, points=60)
"""Of metrics, five seconds apart."""

_LEAST_POINTS = 5
_GONE_LEASES = 5
_RISING = 0.9
_PLENTY_BYTES = 10 << 30
"""With so much of a disk left, its level says nothing: four fifths of a large one are not full."""

METRICS = {"memory_share": "memory", "disk_share": "disk", "open_files_share": "open_files"}
"""The metrics that are levels of a resource."""


def shares(resources: Resources) -> Iterator[tuple[str, float]]:
    """How much of each resource is used, between 0 and 1."""
    r = resources
    if r.memory_limit_bytes > 0:
        yield "memory", r.memory_bytes / r.memory_limit_bytes
    if r.disk_total_bytes > 0:
        plenty = r.disk_free_bytes > _PLENTY_BYTES
        yield "disk", 0.0 if plenty else 1 - r.disk_free_bytes / r.disk_total_bytes
    if r.open_files_limit > 0:
        yield "open_files", r.open_files / r.open_files_limit


@dataclass(slots=True)
class Trend:
    """One resource of one process of late: points are (seconds since 1970, share)."""

    incarnation: bytes
    levels: Levels
    points: deque[tuple[float, float]] = field(default_factory=deque)
    high_in_a_row: int = 0
    onset: tuple[str, int] | None = None

    def take(self, at_ms: int, share: float, mark: str) -> None:
        """A sample; ``mark`` is what tells it from others."""
        at_s = at_ms / 1000
        if self.points and at_s <= self.points[-1][0]:
            return
        self.points.append((at_s, share))
        if len(self.points) > self.levels.points:
            self.points.popleft()
        self.high_in_a_row = self.high_in_a_row + 1 if share >= self.levels.high else 0
        if self.severity() is None:
            self.onset = None
        elif self.onset is None:
            self.onset = mark, at_ms

    @property
    def share(self) -> float:
        """The last one."""
        return self.points[-1][1]

    def full_in_s(self) -> float:
        """Seconds until it is full, at the pace of late; infinite where it does not rise."""
        if len(self.points) < _LEAST_POINTS or self.share < self.levels.trend_from:
            return float("inf")
        points = list(self.points)
        pace = slope(points)
        if pace <= 0 or rising(points) < _RISING:
            return float("inf")
        return max(0.0, 1 - self.share) / pace

    def severity(self) -> Severity | None:
        """How bad it is; None where it is not."""
        if self.share >= self.levels.critical:
            return Severity.CRITICAL
        if self.high_in_a_row >= 2 or self.full_in_s() <= self.levels.horizon_s:
            return Severity.HIGH
        return None

    def is_over(self) -> bool:
        """Whether a failure that was there is not any more."""
        return self.share < self.levels.over and self.full_in_s() > 2 * self.levels.horizon_s


class Exhaustion:
    """Finds nodes whose resources run out."""

    type = FailureType.RESOURCE_EXHAUSTION

    def __init__(self, lives: Mapping[str, Life]) -> None:
        self._lives = lives
        self._trends: dict[tuple[str, str, Levels], Trend] = {}

    def take(self, life: Life) -> None:
        """A complete heartbeat of a node was read."""
        if life.resources is None or life.mode is NodeMode.CLIENT:
            return
        mark = f"{life.incarnation.hex()}:{life.beat.sequence}"
        for name, share in shares(life.resources):
            self._trend(life, name, QUICK).take(life.beat.sent_at, share, mark)

    def take_metric(self, metric: Metric) -> None:
        """A metric was read."""
        kind, _, node_id = metric.component.partition(":")
        name = METRICS.get(metric.name)
        if name is None or kind != "node" or not metric.complete or metric.window_ms > 10_000:
            return
        life = self._lives.get(node_id)
        if life is None or life.resources is None:
            return
        if not dict(shares(life.resources)).get(name):
            return
        mark = f"{metric.window_start}:{metric.window_ms}"
        self._trend(life, name, SLOW).take(metric.window_start, metric.p50, mark)

    def _trend(self, life: Life, name: str, levels: Levels) -> Trend:
        key = life.node_id, name, levels
        trend = self._trends.get(key)
        if trend is None or trend.incarnation != life.incarnation:
            trend = self._trends[key] = Trend(life.incarnation, levels)
        return trend

    def findings(self, now_s: float) -> Iterator[Finding]:
        """The nodes that run out of something."""
        for key in [key for key in self._trends if key[0] not in self._lives]:
            del self._trends[key]
        for (node_id, name, _), trend in self._trends.items():
            if is_gone(self._lives.get(node_id), now_s):
                continue
            severity = trend.severity() if trend.points else None
            if severity is not None and trend.onset is not None:
                yield _finding(node_id, name, trend, severity, trend.onset)

    def cleared(self, event: FailureEvent, now_s: float) -> str:
        """Why a failure is over: there is enough of it again, or the node is another process."""
        node_id = event.component.partition(":")[2]
        if is_gone(self._lives.get(node_id), now_s):
            return f"node {node_id} is not heard of any more"
        name = str(event.context.get("resource", ""))
        quick = self._trends.get((node_id, name, QUICK))
        if quick is None or len(quick.points) < _LEAST_POINTS or not quick.is_over():
            return ""
        slow = self._trends.get((node_id, name, SLOW))
        if slow is not None and slow.points and not slow.is_over():
            return ""
        return f"{name} of {node_id} is at {quick.share:.0%} again"


def is_gone(life: Life | None, now_s: float) -> bool:
    """Whether a node was not heard of for so long that what it said last means nothing."""
    return life is None or now_s - life.read_s > _GONE_LEASES * life.lease_s


def _finding(
    node_id: str, name: str, trend: Trend, severity: Severity, onset: tuple[str, int]
) -> Finding:
    full_in_s = trend.full_in_s()
    soon = full_in_s <= trend.levels.horizon_s
    when = f", full in {full_in_s:.0f} s at this pace" if soon else ""
    return Finding(
        type=FailureType.RESOURCE_EXHAUSTION,
        component=node_component(node_id),
        subject=name,
        mark=(onset[0],),
        severity=severity,
        description=f"node {node_id} has {trend.share:.0%} of its {name} in use{when}",
        first_symptom_at=onset[1],
        context={
            "node_id": node_id,
            "resource": name,
            "share": round(trend.share, 4),
            "full_in_s": round(full_in_s, 1) if soon else None,
        },
    )
