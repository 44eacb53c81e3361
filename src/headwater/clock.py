"""The clocks that leases and records use; tests put their own in place of these."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


def suspended_clock() -> float:
    """Seconds on a clock that never jumps, and goes on while the machine is suspended: a lease
    must run out on a laptop that sleeps.
    """
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)


def wall_ms() -> int:
    """Milliseconds since 1970, as records tell time. No ownership is decided by it."""
    return time.time_ns() // 1_000_000
