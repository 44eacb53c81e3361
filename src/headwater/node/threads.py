"""Drives plain steps on threads; one that hangs keeps its thread and gets replaced."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading

from headwater.clock import suspended_clock
from headwater.node.loop import Finished
from headwater.node.slot import NEVER, Life, Slot

log = logging.getLogger("headwater.node")


class ThreadDriver:
    """Plain steps, at most ``limit`` at a time; threads are made as they are needed."""

    def __init__(self, finished: Finished, limit: int) -> None:
        self._finished = finished
        self._limit = limit
        self._lock = threading.Condition()
        self._due: list[tuple[float, int, Slot, Life]] = []
        self._numbers = itertools.count()
        self._idle = self._threads = 0
        self._lost: set[Life] = set()
        self._stopped = False

    @property
    def lost(self) -> int:
        """Threads that are still in a step that was abandoned."""
        return len(self._lost)

    def look(self, slot: Slot, life: Life) -> None:
        """See whether a step of the slot is due."""
        self._at(0.0, slot, life)

    def cancel(self, *lives: Life) -> None:
        """A thread cannot be stopped: it is replaced, if the step of its life is under way."""
        with self._lock:
            for life in lives:
                if life.task is not None:  # not just ended
                    self._lost.add(life)
                    self._threads -= 1
                    self._lock.notify()
                    self._grow()

    def stop(self) -> None:
        """Begin no more steps."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def _at(self, due_s: float, slot: Slot, life: Life) -> None:
        with self._lock:
            # Of several entries for a life only the last one counts.
            life.timer = number = next(self._numbers)
            heapq.heappush(self._due, (due_s, number, slot, life))
            self._lock.notify()
            self._grow()

    def _grow(self) -> None:
        if self._due and not self._idle and self._threads < self._limit and not self._stopped:
            self._threads += 1
            threading.Thread(target=self._run, name="headwater-step", daemon=True).start()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            slot, life = taken
            if not self._step(slot, life):
                return

    def _take(self) -> tuple[Slot, Life] | None:
        with self._lock:
            while not self._stopped:
                now_s = suspended_clock()
                if self._due and self._due[0][0] <= now_s:
                    _, number, slot, life = heapq.heappop(self._due)
                    if life.timer != number:
                        continue
                    if self._due and self._due[0][0] <= now_s:
                        self._lock.notify()
                        self._grow()
                    return slot, life
                self._idle += 1
                self._lock.wait(self._due[0][0] - now_s if self._due else None)
                self._idle -= 1
            self._threads -= 1
            return None

    def _step(self, slot: Slot, life: Life) -> bool:
        """Do a step if one is due; False where its thread was replaced meanwhile."""
        life.task = threading.current_thread()
        wait_s = slot.begin(life)
        if wait_s > 0:
            life.task = None
            if wait_s < NEVER:
                self._at(suspended_clock() + wait_s, slot, life)
            return True
        result, problem = None, None
        try:
            result = life.agent.step(life.handle)
        except BaseException as error:  # a step that exits is a step that failed
            problem = error
            log.debug("agent %s: its step raised", slot.agent_id, exc_info=True)
        with self._lock:
            life.task = None
            replaced = life in self._lost
            self._lost.discard(life)
        if self._finished(slot, life, result, problem):
            self._at(0.0, slot, life)
        return not replaced
