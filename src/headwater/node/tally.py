"""Counts what the steps of a kind took; cheap enough for each of them."""

from __future__ import annotations

import math
import threading

from headwater.fleet.records import LatencyBucket

_PER_DOUBLING = 8
_LEAST_MS = 1e-3


class Tally:
    """Steps, errors, timeouts, and a histogram of times whose buckets are each 9 % wide."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[int, int] = {}
        self.steps = 0
        self.errors = 0
        self.timeouts = 0

    def completed(self, seconds: float) -> None:
        """A step came to its end."""
        bucket = bucket_of(seconds * 1000)
        with self._lock:
            self.steps += 1
            self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def failed(self) -> None:
        """A step raised."""
        with self._lock:
            self.errors += 1

    def timed_out(self) -> None:
        """A step took longer than its deadline."""
        with self._lock:
            self.timeouts += 1

    def latency(self) -> list[LatencyBucket]:
        """The histogram, shortest first."""
        with self._lock:
            return [LatencyBucket(bucket=b, count=n) for b, n in sorted(self._buckets.items())]


def bucket_of(milliseconds: float) -> int:
    """floor(8 log2(ms))."""
    return math.floor(_PER_DOUBLING * math.log2(max(milliseconds, _LEAST_MS)))
