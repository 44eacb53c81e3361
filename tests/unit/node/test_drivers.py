"""Driving steps: on a loop that others block, and on threads that hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from headwater.node.hosted import HostedAgent, kind_of
from headwater.node.loop import LoopDriver
from headwater.node.slot import Life, Slot
from headwater.node.threads import ThreadDriver
from headwater.node.watch import split
from tests.support.processes import eventually


class Log:
    """What a driver was told; the next step follows at once, until ``steps`` were made."""

    def __init__(self, steps: int = 1) -> None:
        self.ended: list[tuple[str, Any, BaseException | None]] = []
        self._steps = steps

    def __call__(self, slot: Slot, life: Life, result: Any, problem: BaseException | None) -> bool:
        if slot.finish(life, 0.0) is None:
            return False
        self.ended.append((slot.agent_id, result, problem))
        return slot.steps < self._steps


class FakeSession:
    epoch = version = size_bytes = 1


def hosted(agent_id: str, step: Callable[..., Any]) -> tuple[Slot, Life]:
    """An agent with this step."""
    made = type("Made", (HostedAgent,), {"step": step})
    slot = Slot(agent_id, kind_of(made))
    life = Life(FakeSession(), made(), agent_id)  # type: ignore[arg-type]
    assert slot.adopt(life)
    return slot, life


async def quick(self: HostedAgent, agent: str) -> str:
    await asyncio.sleep(0)
    return f"done {agent}"


def plain(self: HostedAgent, agent: str) -> str:
    return f"done {agent}"


def test_async_steps_follow_one_another() -> None:
    """A step that ends makes the loop look for the next one."""
    log = Log(steps=3)
    driver = LoopDriver(log)
    driver.look(*hosted("a", quick))
    eventually(lambda: len(log.ended) == 3, 10, "three steps")
    assert log.ended == [("a", "done a", None)] * 3
    driver.stop()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError])
def test_no_step_ends_the_loop(error: type[BaseException]) -> None:
    """Whatever one agent's step raises, the loop goes on with the others."""

    async def bad(self: HostedAgent, agent: str) -> None:
        raise error

    log = Log()
    driver = LoopDriver(log)
    driver.look(*hosted("bad", bad))
    driver.look(*hosted("good", quick))
    eventually(lambda: len(log.ended) == 2, 10, "both ended")
    assert isinstance({name: p for name, _, p in log.ended}["bad"], error)
    driver.stop()


def test_a_loop_that_is_blocked_is_left_to_its_blocker() -> None:
    """Others go on on another loop; the blocker's step counts if it ends before its deadline."""
    let_go = threading.Event()

    async def blocks(self: HostedAgent, agent: str) -> None:
        let_go.wait(30)

    log = Log()
    driver = LoopDriver(log)
    blocker, life = hosted("blocker", blocks)
    driver.look(blocker, life)
    other = hosted("other", quick)
    eventually(lambda: driver.loop.late_s > 0.1, 10, "the loop is late")
    old = driver.loop
    assert split([other[0], blocker], old.blocker()) == (blocker, [other[0]])
    driver.look(*other)
    driver.replace(life)
    driver.look(*other)
    eventually(lambda: [name for name, _, _ in log.ended] == ["other"], 10, "the other goes on")
    let_go.set()
    eventually(lambda: len(log.ended) == 2, 10, "the blocker has ended")
    eventually(lambda: not old.thread.is_alive(), 10, "the old loop has ended")
    assert len(log.ended) == 2  # and has begun nothing any more
    driver.stop()


def test_an_async_step_is_cancelled() -> None:
    """One that waits for ever ends when its life is abandoned."""
    ended = threading.Event()

    async def waits(self: HostedAgent, agent: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    driver = LoopDriver(Log())
    slot, life = hosted("a", waits)
    driver.look(slot, life)
    eventually(lambda: life.task is not None, 10, "it has begun")
    slot.abandon(error="late")
    driver.cancel(life)
    assert ended.wait(10)
    driver.stop()


def test_plain_steps_share_threads() -> None:
    """Many agents' steps are made by no more threads than allowed."""
    log = Log(steps=5)
    driver = ThreadDriver(log, 3)
    for number in range(20):
        driver.look(*hosted(f"a{number}", plain))
    eventually(lambda: len(log.ended) == 100, 20, "all steps")
    ours = [t for t in threading.enumerate() if t.name == "headwater-step"]
    assert len(ours) <= 3
    driver.stop()


def test_a_thread_that_hangs_is_replaced() -> None:
    """An abandoned step keeps its thread, and the others' steps do not wait for it."""
    let_go = threading.Event()

    def hangs(self: HostedAgent, agent: str) -> None:
        let_go.wait(30)

    log = Log()
    driver = ThreadDriver(log, 1)
    slot, life = hosted("hangs", hangs)
    driver.look(slot, life)
    eventually(lambda: slot.stepping, 10, "it hangs")
    driver.look(*hosted("other", plain))
    slot.abandon(error="late")
    driver.cancel(life)
    eventually(lambda: [n for n, _, _ in log.ended] == ["other"], 10, "the other goes on")
    assert driver.lost == 1
    let_go.set()
    eventually(lambda: driver.lost == 0, 10, "the thread is back")
    assert len(log.ended) == 1
    driver.stop()


def test_a_plain_step_that_exits_is_one_that_failed() -> None:
    """SystemExit in a step is told, and its thread goes on."""

    def exits(self: HostedAgent, agent: str) -> None:
        raise SystemExit(3)

    log = Log()
    driver = ThreadDriver(log, 1)
    driver.look(*hosted("a", exits))
    driver.look(*hosted("b", plain))
    eventually(lambda: len(log.ended) == 2, 10, "both ended")
    driver.stop()
