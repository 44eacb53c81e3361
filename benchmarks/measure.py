"""Figures: CPU and wall time of this process, and what several rounds of a figure come to."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Sequence
from typing import Any


class Meter:
    """CPU seconds of the whole process, every thread and the kernel's part, and wall seconds."""

    def __init__(self) -> None:
        self._cpu_s = 0.0
        self._wall_s = 0.0

    def start(self) -> None:
        """Begin; whatever the process did before does not count."""
        self._cpu_s, self._wall_s = _cpu_s(), time.perf_counter()

    def stop(self) -> dict[str, float]:
        """``cpu_s`` and ``wall_s`` since :meth:`start`."""
        wall_s = time.perf_counter() - self._wall_s
        return {"cpu_s": _cpu_s() - self._cpu_s, "wall_s": wall_s}


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def per_event(result: dict[str, Any], events: int) -> dict[str, Any]:
    """``result`` of a side, with CPU an event in µs and events a second."""
    return {
        **result,
        "events": events,
        "cpu_us": result["cpu_s"] / events * 1e6,
        "events_per_s": events / result["wall_s"],
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0-1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))]


def latencies_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and extremes of durations, in milliseconds."""
    return {
        "n": len(seconds),
        "p50_ms": percentile(seconds, 0.5) * 1000,
        "p99_ms": percentile(seconds, 0.99) * 1000,
        "min_ms": min(seconds) * 1000,
        "max_ms": max(seconds) * 1000,
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, minimum and maximum over rounds, and every round's value."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": list(values),
    }
