"""PERFORMANCE_DEGRADATION: something takes much longer, or does much less, than it used to.

Against its own baseline: the median and the median absolute deviation of its windows of the last
minutes (:mod:`.robust`), which hold no window that was itself found bad. Steps of each kind on each
node are measured from heartbeats, windows of two seconds; kinds as a whole, the fleet, and the
brokers by the metrics of ``streams/insights``, where those flow. Pure: times come from the records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from headwater.fleet.pulse import Life
from headwater.fleet.records import (
    AgentMode,
    FailureEvent,
    FailureType,
    KindReport,
    Metric,
    NodeMode,
)

from .exhaustion import is_gone
from .finding import Finding
from .nodes import component_of as node_component
from .robust import spread

_BASELINE = 60
_ENOUGH = 12
_IN_A_ROW = 3
_SCORE = 6.0
_FACTOR = 2.0
_WINDOW_MS = 2000
_LEAST_STEPS = 5
_USUAL_AFTER = 150
"""So many bad windows in a row, and it is how things are now: a new baseline begins."""

LEAST_MS = {"step_ms": 5.0, "commit_ms": 50.0, "broker_rtt_ms": 20.0}
"""The times that are watched, and by how much they must be longer at the very least."""

_METRIC_WINDOW_MS = 5000


@dataclass(slots=True)
class Series:
    """One figure of one component, window by window; ``sign`` -1 where less is worse."""

    sign: int
    least: float
    values: deque[float] = field(default_factory=lambda: deque(maxlen=_BASELINE))
    last_ms: int = -1
    value: float = 0.0
    bad: int = 0
    good: int = 0
    onset_ms: int = 0

    def limit(self) -> float:
        """The value from which on a window is bad; infinite until enough is known."""
        if len(self.values) < _ENOUGH:
            return self.sign * float("inf")
        usual, deviation = spread(self.values)
        by = max(_SCORE * deviation, self.least)
        if self.sign > 0:
            return max(usual + by, usual * _FACTOR)
        return min(usual - by, usual / _FACTOR)

    def take(self, start_ms: int, value: float) -> None:
        """The value of the window that began at ``start_ms``; the same window again is ignored."""
        if start_ms <= self.last_ms:
            return
        self.last_ms, self.value = start_ms, value
        if self.sign * value <= self.sign * self.limit():
            self.values.append(value)
            self.good, self.bad = self.good + 1, 0
            return
        self.onset_ms = start_ms if not self.bad else self.onset_ms
        self.good, self.bad = 0, self.bad + 1
        if self.bad >= _USUAL_AFTER:
            self.values.clear()
            self.bad = 0

    @property
    def degraded(self) -> bool:
        """Whether it was bad several times in a row."""
        return self.bad >= _IN_A_ROW


@dataclass(slots=True)
class _Begun:
    """A kind on a node when the window began."""

    incarnation: bytes
    at_ms: int
    steps: int
    latency: dict[int, int]


def quantile(counts: Mapping[int, int], share: float) -> float:
    """A quantile, in milliseconds, of a histogram whose bucket b begins at 2^(b/8) ms."""
    left = share * sum(counts.values())
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return float(2 ** ((bucket + 0.5) / 8))
    return 0.0


class Degradation:
    """Finds components that are slower than they used to be."""

    type = FailureType.PERFORMANCE_DEGRADATION

    def __init__(self, lives: Mapping[str, Life]) -> None:
        self._lives = lives
        self._begun: dict[tuple[str, str], _Begun] = {}
        self._series: dict[tuple[str, str], Series] = {}

    def take(self, life: Life) -> None:
        """A complete heartbeat of a node was read."""
        if life.mode is not NodeMode.RUNNING:
            return
        for kind in life.kinds.values():
            self._window(life, kind)

    def _window(self, life: Life, kind: KindReport) -> None:
        key, now_ms = (life.node_id, kind.kind), life.beat.sent_at
        begun = self._begun.get(key)
        latency = {each.bucket: each.count for each in kind.latency}
        if begun is None or begun.incarnation != life.incarnation:
            self._begun[key] = _Begun(life.incarnation, now_ms, kind.steps, latency)
            return
        took_ms = now_ms - begun.at_ms
        if took_ms < _WINDOW_MS:
            return
        self._begun[key] = _Begun(life.incarnation, now_ms, kind.steps, latency)
        counts = {b: n - begun.latency.get(b, 0) for b, n in latency.items()}
        counts = {b: n for b, n in counts.items() if n > 0}
        component = node_component(life.node_id)
        if sum(counts.values()) >= _LEAST_STEPS:
            series = self._of(component, f"step_ms:{kind.kind}", 1, LEAST_MS["step_ms"])
            series.take(begun.at_ms, quantile(counts, 0.5))
        # What it does for each agent that is at work: fewer agents do less, and that is no fault,
        # nor is it where they wait until something is due.
        at_work = [
            bool(a.step_started_at)
            for a in life.agents.values()
            if a.kind == kind.kind and a.state is AgentMode.RUNNING
        ]
        if at_work:
            pace = (kind.steps - begun.steps) / (took_ms / 1000) / len(at_work)
            least = _LEAST_STEPS / (took_ms / 1000) / len(at_work)
            series = self._of(component, f"steps_per_s:{kind.kind}", -1, least)
            if pace >= series.limit() or 2 * sum(at_work) >= len(at_work):
                series.take(begun.at_ms, pace)

    def take_metric(self, metric: Metric) -> None:
        """A metric was read."""
        least, of_node = LEAST_MS.get(metric.name), metric.component.startswith("node:")
        if least is None or not metric.complete or metric.window_ms != _METRIC_WINDOW_MS:
            return
        # Nodes' steps are measured here, sooner.
        if metric.count >= _LEAST_STEPS and not (of_node and metric.name == "step_ms"):
            series = self._of(metric.component, metric.name, 1, least)
            series.take(metric.window_start, metric.p50)

    def _of(self, component: str, figure: str, sign: int, least: float) -> Series:
        series = self._series.get((component, figure))
        if series is None:
            series = self._series[component, figure] = Series(sign, least)
        return series

    def findings(self, now_s: float) -> Iterator[Finding]:
        """The components that are slower than they used to be."""
        self._drop(key for key in self._series if self._is_gone(key[0], now_s))
        for (component, figure), series in self._series.items():
            if series.degraded:
                yield _finding(component, figure, series)

    def _drop(self, keys: Iterable[tuple[str, str]]) -> None:
        for key in tuple(keys):
            del self._series[key]

    def _is_gone(self, component: str, now_s: float) -> bool:
        kind, _, node_id = component.partition(":")
        return kind == "node" and is_gone(self._lives.get(node_id), now_s)

    def cleared(self, event: FailureEvent, now_s: float) -> str:
        """Why a failure is over: several good windows in a row, by the limit that was broken."""
        if self._is_gone(event.component, now_s):
            return f"{event.component} is not heard of any more"
        figure = str(event.context.get("subject", ""))
        series = self._series.get((event.component, figure))
        if series is None or series.good < _IN_A_ROW:
            return ""
        if series.sign * series.value > series.sign * float(event.context["limit"]):
            return ""
        return f"{figure} of {event.component} is {series.value:.4g} again"


def _finding(component: str, figure: str, series: Series) -> Finding:
    usual, deviation = spread(series.values)
    return Finding(
        type=FailureType.PERFORMANCE_DEGRADATION,
        component=component,
        subject=figure,
        mark=(str(series.onset_ms),),
        description=f"{figure} of {component} is {series.value:.4g}, usually {usual:.4g}",
        first_symptom_at=series.onset_ms,
        context={
            "figure": figure,
            "value": round(series.value, 3),
            "usual": round(usual, 3),
            "deviation": round(deviation, 3),
            "limit": round(series.limit(), 3),
            "windows": series.bad,
        },
    )
