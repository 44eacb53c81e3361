"""Named places at which a process can be told to kill itself, for tests of what that leaves behind.

``HEADWATER_CRASH_AT=compactor.before_commit:3`` ends the process with SIGKILL, which nothing can
catch, when it comes to that place for the third time. Unset, as it always is outside of such
tests, a place costs one comparison.
"""

from __future__ import annotations

import os
import signal
import threading

_lock = threading.Lock()
_left = 0


def _armed_place() -> str | None:
    global _left
    place, _, hit = os.environ.get("HEADWATER_CRASH_AT", "").partition(":")
    _left = int(hit or 1)
    return place or None


_place = _armed_place()


def crash_point(name: str) -> None:
    """End the process here, if it was started to end here."""
    if _place is not None:
        _count_down(name)


def _count_down(name: str) -> None:
    global _left
    if name != _place:
        return
    with _lock:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
