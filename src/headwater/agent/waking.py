"""Wakes tasks from other threads, many with one call: each call into an event loop is a system
call, and a turn of the interpreter for the loop's thread, which others are waiting for.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque


class Waker:
    """Sets events of one loop, from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._events: deque[asyncio.Event] = deque()
        self._called = False

    def wake(self, event: asyncio.Event) -> None:
        """Set an event soon."""
        self._events.append(event)
        if not self._called:
            self._called = True
            with contextlib.suppress(RuntimeError):  # the loop has ended, and all its tasks
                self.loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        # First, so that what is added from now on has a call of its own, if a needless one.
        self._called = False
        while self._events:
            self._events.popleft().set()


_mine = threading.local()


def waker() -> Waker:
    """That of the running loop."""
    loop = asyncio.get_running_loop()
    known: Waker | None = getattr(_mine, "waker", None)
    if known is None or known.loop is not loop:
        known = _mine.waker = Waker(loop)
    return known
