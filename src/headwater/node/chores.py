"""Work that may block, done on a few threads aside; what goes wrong there is told and retried."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable

from headwater.clock import suspended_clock
from headwater.errors import RetryableError

log = logging.getLogger("headwater.node")

Chore = Callable[[], object]

_AGAIN_S = 0.5
_TRIES = 120


class Chores:
    """A small pool of daemon threads: one that hangs does not keep the process from ending."""

    def __init__(self, limit: int = 8) -> None:
        self._limit = limit
        self._lock = threading.Condition()
        self._due: list[tuple[float, int, int, Chore]] = []
        self._numbers = itertools.count()
        self._threads = self._busy = 0
        self._stopped = False

    def do(self, chore: Chore) -> None:
        """Do it soon. After an error that may pass it is done again, half a second later."""
        self._at(0.0, _TRIES, chore)

    def do_all(self, chores: list[Chore], timeout_s: float) -> bool:
        """Do them side by side, each once, and wait; whether all came to an end."""
        left = threading.Semaphore(0)

        def counted(chore: Chore) -> Chore:
            def run() -> None:
                try:
                    chore()
                finally:
                    left.release()

            return run

        for chore in chores:
            self._at(0.0, 0, counted(chore))
        deadline = suspended_clock() + timeout_s
        return all(left.acquire(timeout=max(0.0, deadline - suspended_clock())) for _ in chores)

    def idle(self, timeout_s: float) -> bool:
        """Wait until nothing is left to do."""
        with self._lock:
            return self._lock.wait_for(lambda: not (self._due or self._busy), timeout_s)

    def stop(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def _at(self, due_s: float, tries: int, chore: Chore) -> None:
        with self._lock:
            heapq.heappush(self._due, (due_s, next(self._numbers), tries, chore))
            if self._threads - self._busy < len(self._due) and self._threads < self._limit:
                self._threads += 1
                threading.Thread(target=self._run, name="headwater-chores", daemon=True).start()
            self._lock.notify()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            tries, chore = taken
            try:
                chore()
            except RetryableError as error:
                if tries > 0:
                    self._at(suspended_clock() + _AGAIN_S, tries - 1, chore)
                log.warning("%s", error)
            except Exception:
                log.exception("a chore of the node failed")
            with self._lock:
                self._busy -= 1
                self._lock.notify_all()

    def _take(self) -> tuple[int, Chore] | None:
        with self._lock:
            while not self._stopped:
                now_s = suspended_clock()
                if self._due and self._due[0][0] <= now_s:
                    _, _, tries, chore = heapq.heappop(self._due)
                    self._busy += 1
                    return tries, chore
                self._lock.wait(self._due[0][0] - now_s if self._due else None)
            return None
