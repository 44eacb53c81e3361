"""How far a detector may trust its own eyes: its canaries, and its own punctuality.

A node is silent for a detector, too, where the detector itself is slow or stopped, is cut off from
the brokers, or where the partition that holds the node's heartbeats has no leader. Pure: times are
arguments, in seconds of a clock that never jumps.
"""

from __future__ import annotations

import math
from collections import deque

_WORST = 8
_STEP = 0.25
_HALVING_BEATS = 10


class LocalHealth:
    """How late the detector itself has been lately, as a factor for its patience.

    Source: Dadgar, Phillips and Currey, "Lifeguard: local health awareness for more accurate
    failure detection", 2018: a counter between 0 (well) and 8, by which time-outs are stretched.
    Here it goes up when the detector's own loop was late, and down with each interval in which it
    was not.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._better_s = 0.0
        self.score = 0

    @property
    def stretch(self) -> float:
        """What to multiply patience by: 1 to 3."""
        return 1.0 + _STEP * self.score

    def took(self, late_s: float, now_s: float) -> None:
        """The loop came round, ``late_s`` later than it wanted to."""
        if late_s > self._interval_s / 2:
            self.score = min(_WORST, self.score + 1 + int(late_s / self._interval_s))
            self._better_s = now_s
        elif self.score and now_s - self._better_s >= self._interval_s:
            self.score -= 1
            self._better_s = now_s


class Canary:
    """The detector's own records in one partition of heartbeats, sent and waited for.

    A canary that has come back proves that everything was read that was written to the partition
    before it: silence counts up to when it was *sent*, and no further. One that was held up shows
    for how long heartbeats were; their nodes are given that time on top and, after more than an
    interval, as much again (up to two leases) to find the partition's new leader.
    """

    def __init__(self, interval_s: float, lease_s: float) -> None:
        self._interval_s = interval_s
        self._lease_s = lease_s
        self._waiting: deque[tuple[int, float]] = deque()
        self._held_up_s = 0.0
        self._held_up_at_s = float("-inf")
        self.proven_s = float("-inf")
        self.sent_s = float("-inf")

    def sent(self, sequence: int, now_s: float) -> None:
        """One was sent; ``sequence`` only grows."""
        self._waiting.append((sequence, now_s))
        self.sent_s = now_s

    def came_back(self, sequence: int, now_s: float) -> None:
        """It was read again; those sent before it that were not are lost."""
        oldest_s: float | None = None
        while self._waiting and self._waiting[0][0] <= sequence:
            number, sent_s = self._waiting.popleft()
            oldest_s = sent_s if oldest_s is None else oldest_s
            if number == sequence:
                self.proven_s = sent_s
        if oldest_s is None:
            return
        took_s = now_s - oldest_s
        if took_s > self._interval_s / 2 and took_s >= self.held_up_s(now_s):
            self._held_up_s, self._held_up_at_s = took_s, now_s

    def forget(self) -> None:
        """The detector itself was away: what is on its way says nothing about the partition."""
        self._waiting.clear()

    def held_up_s(self, now_s: float) -> float:
        """For how long canaries were held up at worst, fading from two leases after that on."""
        if not self._held_up_s:
            return 0.0
        past = (now_s - self._held_up_at_s - 2 * self._lease_s) / self._interval_s
        left_s = self._held_up_s * math.exp2(-max(0.0, past) / _HALVING_BEATS)
        if left_s < self._interval_s / 4:
            self._held_up_s = 0.0
        return left_s if self._held_up_s else 0.0

    def allowance_s(self, now_s: float) -> float:
        """How much longer to wait for heartbeats of this partition than for others."""
        held_up_s = self.held_up_s(now_s)
        if held_up_s < self._interval_s:
            return held_up_s  # brokers that are busy, but have not failed over
        return held_up_s + min(held_up_s, 2 * self._lease_s)
