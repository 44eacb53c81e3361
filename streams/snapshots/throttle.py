"""Keeps a log readable when something happens very often."""

from __future__ import annotations

import time
from collections.abc import Callable


class Throttle:
    """Lets one through in ``interval_s``, and counts the others."""

    __slots__ = ("_clock", "_interval_s", "_next", "_skipped")

    def __init__(self, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._next = float("-inf")
        self._skipped = 0

    def allow(self) -> int | None:
        """How many were held back since the last one; None to hold this one back too."""
        now = self._clock()
        if now < self._next:
            self._skipped += 1
            return None
        skipped, self._skipped = self._skipped, 0
        self._next = now + self._interval_s
        return skipped
