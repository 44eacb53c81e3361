"""Phi-accrual failure detection: how unlikely it is that a node that lives is silent for so long.

Source: Hayashibara, Défago, Yared and Katayama, "The phi accrual failure detector", 2004. Phi is
-log10 of the probability that a heartbeat comes later than now, where the times between heartbeats
are taken to be normally distributed, with mean and deviation of those of late. So a node whose
heartbeats are irregular is given more time than one like clockwork.

Pure: times are arguments, in seconds.
"""

from __future__ import annotations

import math
from array import array
from functools import cache

WINDOW = 100
"""Intervals that are remembered; the paper has 1,000, which learn slowly what has changed."""

THRESHOLD = 8.0
"""One false suspicion in 10^8 intervals, were they normally distributed."""

_LEAST_DEVIATION = 0.25
_US = 1_000_000
_FAR = 30.0
_FORGET = 0.98


def phi_at(z: float) -> float:
    """Phi at ``z`` standard deviations after the mean: -log10 of the normal survival function.

    Beyond 30 of them the function itself is too small for a float; its logarithm is had from the
    asymptotic series (Abramowitz and Stegun, 26.2.12).
    """
    if z < _FAR:
        return -math.log10(0.5 * math.erfc(z / math.sqrt(2)))
    series = math.log1p(-1 / z**2 + 3 / z**4)
    return (z * z / 2 + math.log(z * math.sqrt(2 * math.pi)) - series) / math.log(10)


@cache
def deviations(phi: float) -> float:
    """The other way round: after how many deviations phi is reached."""
    low, high = -10.0, 10.0
    while phi_at(high) < phi:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if phi_at(middle) < phi else (low, middle)
    return high


class Arrivals:
    """The times between one node's heartbeats: a ring with its sums, every operation O(1).

    In whole microseconds, so that the sums stay exact however long it runs. ``expected_s`` is the
    interval that the node announced: it stands in for what has not been seen yet, and a quarter of
    it is the least deviation, since nothing says that what was regular so far stays so.
    """

    __slots__ = ("_expected_us", "_next", "_ring", "_squares", "_sum", "last_s", "worst_s")

    def __init__(self, expected_s: float, now_s: float) -> None:
        self.last_s = now_s
        self.worst_s = 0.0
        self._expected_us = max(1, round(expected_s * _US))
        self._ring = array("q")
        self._next = 0
        self._sum = 0
        self._squares = 0
        # As two heartbeats would have shown it that were as irregular as is allowed for.
        spread = round(self._expected_us * _LEAST_DEVIATION)
        self._add(self._expected_us - spread)
        self._add(self._expected_us + spread)

    def beat(self, now_s: float, *, learn: bool = True) -> None:
        """A heartbeat came; without ``learn``, what held it up was not the node."""
        interval_s = max(0.0, now_s - self.last_s)
        self.last_s = now_s
        if learn:
            self.worst_s = max(interval_s, self.worst_s * _FORGET)
            self._add(round(interval_s * _US))

    def _add(self, interval_us: int) -> None:
        if len(self._ring) < WINDOW:
            self._ring.append(interval_us)
        else:
            old = self._ring[self._next]
            self._sum -= old
            self._squares -= old * old
            self._ring[self._next] = interval_us
            self._next = (self._next + 1) % WINDOW
        self._sum += interval_us
        self._squares += interval_us * interval_us

    @property
    def mean_s(self) -> float:
        """Mean interval."""
        return self._sum / len(self._ring) / _US

    @property
    def deviation_s(self) -> float:
        """Standard deviation of the intervals, never less than a quarter of the expected one."""
        count = len(self._ring)
        variance = (self._squares * count - self._sum * self._sum) / (count * count)
        return max(math.sqrt(max(0.0, variance)), self._expected_us * _LEAST_DEVIATION) / _US

    def phi(self, now_s: float) -> float:
        """How unlikely the silence is by now."""
        return phi_at((now_s - self.last_s - self.mean_s) / self.deviation_s)

    def patience_s(self, threshold: float = THRESHOLD) -> float:
        """How long after a heartbeat phi reaches ``threshold``."""
        return self.mean_s + deviations(threshold) * self.deviation_s
