"""Drives async steps: one event loop on a thread of its own, replaced when a step blocks it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from headwater.clock import suspended_clock
from headwater.node.slot import NEVER, Life, Slot

log = logging.getLogger("headwater.node")

_TICK_S = 0.05

Finished = Callable[[Slot, Life, Any, BaseException | None], bool]
"""Told how a step ended; whether the slot is to be looked at again."""


class StepLoop:
    """An event loop for steps, and how late it is."""

    def __init__(
        self, finished: Finished, again: Callable[[Slot, Life], None], number: int
    ) -> None:
        self._finished = finished
        self._again = again
        self._loop = asyncio.new_event_loop()
        self._ticked_s = suspended_clock()
        self._worst_s = 0.0
        self._retired = False
        self._kept: Life | None = None
        self.thread = threading.Thread(
            target=self._run, name=f"headwater-steps-{number}", daemon=True
        )
        self.thread.start()

    def look(self, slot: Slot, life: Life) -> None:
        """See whether a step of the slot is due, soon, on the loop. From any thread."""
        if threading.current_thread() is self.thread:
            self._loop.call_soon(self._look, slot, life)
        else:
            call_in(self._loop, self._look, slot, life)

    @property
    def late_s(self) -> float:
        """How late the loop is now."""
        return max(0.0, suspended_clock() - self._ticked_s - _TICK_S)

    def excuse(self, seconds: float) -> None:
        """The whole process had no turn for so long: the loop was not blocked."""
        self._ticked_s += seconds

    def worst_s(self) -> float:
        """How late it was at worst since this was asked last."""
        worst, self._worst_s = max(self._worst_s, self.late_s), 0.0
        return worst

    def blocker(self) -> asyncio.Task[Any] | None:
        """The task that the loop is in."""
        return asyncio.current_task(self._loop)

    def retire(self, kept: Life | None) -> None:
        """Begin no more steps; once the loop runs again cancel all but that of ``kept``, and end
        with it.
        """
        self._kept, self._retired = kept, True
        call_in(self._loop, self._wind_up)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._tick()
        self._loop.run_forever()
        self._loop.close()

    def _tick(self) -> None:
        now_s = suspended_clock()
        self._worst_s = max(self._worst_s, now_s - self._ticked_s - _TICK_S)
        self._ticked_s = now_s
        self._loop.call_later(_TICK_S, self._tick)

    def _look(self, slot: Slot, life: Life) -> None:
        if self._retired:
            return
        if life.timer is not None:
            life.timer.cancel()
            life.timer = None
        wait_s = slot.begin(life)
        if wait_s == 0:
            life.task = self._loop.create_task(self._step(slot, life))
        elif wait_s < NEVER:
            life.timer = self._loop.call_later(wait_s, self._look, slot, life)

    async def _step(self, slot: Slot, life: Life) -> None:
        result, problem = None, None
        try:
            result = await life.agent.step(life.handle)
        except BaseException as error:  # not even SystemExit may end the loop of all others
            problem = error
            log.debug("agent %s: its step raised", slot.agent_id, exc_info=True)
        life.task = None
        if self._finished(slot, life, result, problem):
            self._again(slot, life)
        if self._retired:
            self._wind_up()

    def _wind_up(self) -> None:
        mine = asyncio.current_task(self._loop)
        kept = self._kept.task if self._kept is not None else None
        others = asyncio.all_tasks(self._loop) - {mine}
        for task in others - {kept}:
            task.cancel()
        if kept is None:
            # Those that were cancelled get a last turn.
            self._loop.call_later(_TICK_S, self._loop.stop)


class LoopDriver:
    """Async steps. ``loop`` is the one that works; others are left to the steps that block them."""

    def __init__(self, finished: Finished) -> None:
        self._finished = finished
        self.replaced = 0
        self.loop = StepLoop(finished, self.look, 0)

    def look(self, slot: Slot, life: Life) -> None:
        """See whether a step of the slot is due."""
        self.loop.look(slot, life)

    def cancel(self, *lives: Life) -> None:
        """End the steps of lives that were abandoned, as far as they can be ended."""
        tasks = [task for life in lives if (task := life.task) is not None]
        # One call for all of a loop: each wakes it up, which costs a turn of the interpreter.
        for loop in {task.get_loop() for task in tasks}:
            call_in(loop, _cancel, [task for task in tasks if task.get_loop() is loop])

    def replace(self, kept: Life | None) -> None:
        """Leave the loop to ``kept``, whose step blocks it, and begin another one."""
        old = self.loop
        self.replaced += 1
        self.loop = StepLoop(self._finished, self.look, self.replaced)
        old.retire(kept)

    def stop(self) -> None:
        """End the loop once its steps are over."""
        self.loop.retire(None)


def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


def call_in(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: Any) -> None:
    """Call something soon in a loop of another thread, if that loop has not ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *args)
