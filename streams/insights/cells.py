"""What was counted, and the metrics that follow from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from headwater.fleet.records import Metric

_RATES = {"steps": "steps_per_s", "changes": "changes_per_s", "events": "events_per_s"}


class Cell(msgspec.Struct, array_like=True):
    """What one source said about one part of the fleet in one pane.

    ``counts``: how often something happened. ``latency``: steps by bucket, floor(8 log2(ms)).
    ``values``: samples. ``levels``: what was so at the end.
    """

    counts: dict[str, int] = {}
    latency: dict[int, int] = {}
    values: dict[str, list[float]] = {}
    levels: dict[str, float] = {}

    def count(self, name: str, by: int) -> None:
        """Something happened so often more; 0 makes the metric known."""
        self.counts[name] = self.counts.get(name, 0) + by

    def observe(self, name: str, value: float) -> None:
        """One more sample."""
        self.values.setdefault(name, []).append(value)


class Total:
    """The cells of one component in one window."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._latency: dict[int, int] = {}
        self._values: dict[str, list[float]] = {}
        self._levels: dict[str, dict[str, float]] = {}

    def add(self, source: str, cell: Cell, *, last: bool) -> None:
        """Take a cell in; ``last`` if it is of the last pane in which the source said anything."""
        for name, count in cell.counts.items():
            self._counts.setdefault(name, []).append(count)
        for bucket, count in cell.latency.items():
            self._latency[bucket] = self._latency.get(bucket, 0) + count
        for name, values in cell.values.items():
            self._values.setdefault(name, []).extend(values)
        if last:
            for name, level in cell.levels.items():
                of = self._levels.setdefault(name, {})
                of[source] = of.get(source, 0.0) + level

    def metrics(self, component: str, start_ms: int, window_ms: int) -> Iterator[Metric]:
        """What is to be said about the window."""

        def metric(name: str, **figures: float) -> Metric:
            count = int(figures.pop("count"))
            of = {"name": name, "component": component}
            when = {"window_start": start_ms, "window_ms": window_ms}
            return Metric(**of, **when, count=count, **figures)  # type: ignore[arg-type]

        for name, counts in sorted(self._counts.items()):
            total = sum(counts)
            yield metric(name, count=total, sum=total, min=min(counts), max=max(counts))
            if name in _RATES:
                rate = total * 1000 / window_ms
                same = dict.fromkeys(("sum", "min", "max", "p50", "p95", "p99"), rate)
                yield metric(_RATES[name], count=1, **same)
        if self._latency:
            yield metric("step_ms", **bucket_figures(self._latency))
        for name, values in sorted(self._values.items()):
            yield metric(name, **figures(values))
        for name, levels in sorted(self._levels.items()):
            yield metric(
                name,
                count=len(levels),
                sum=sum(levels.values()),
                min=min(levels.values()),
                max=max(levels.values()),
            )


def metric_key(metric: Metric) -> str:
    """The key of a metric: the same window again takes the place of what was said before."""
    return f"{metric.component}|{metric.name}|{metric.window_ms}|{metric.window_start}"


def figures(values: Iterable[float]) -> dict[str, float]:
    """Count, sum, extremes and percentiles (nearest rank) of samples."""
    ordered = sorted(values)
    found: dict[str, float] = {
        "count": len(ordered),
        # In this order whatever order they came in: the sum of floats depends on it.
        "sum": sum(ordered),
        "min": ordered[0],
        "max": ordered[-1],
    }
    for name, share in (("p50", 50), ("p95", 95), ("p99", 99)):
        found[name] = ordered[_rank(len(ordered), share)]
    return found


def bucket_figures(buckets: Mapping[int, int]) -> dict[str, float]:
    """The same of samples by bucket, each taken for the middle of its bucket: 4.5 % off at most.
    The extremes are the outer bounds.
    """
    ordered = sorted(buckets.items())
    count = sum(buckets.values())
    found: dict[str, float] = {
        "count": count,
        "sum": sum(middle(bucket) * each for bucket, each in ordered),
        "min": 2 ** (ordered[0][0] / 8),
        "max": 2 ** ((ordered[-1][0] + 1) / 8),
    }
    for name, share in (("p50", 50), ("p95", 95), ("p99", 99)):
        left = _rank(count, share)
        for bucket, each in ordered:
            if left < each:
                found[name] = middle(bucket)
                break
            left -= each
    return found


def middle(bucket: int) -> float:
    """The geometric middle of a bucket, in milliseconds."""
    return float(2 ** ((bucket + 0.5) / 8))


def _rank(count: int, share: int) -> int:
    return max(0, -(-count * share // 100) - 1)
