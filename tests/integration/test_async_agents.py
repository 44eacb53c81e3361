"""The asyncio twin against a real broker: the same promises, and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import pytest

import headwater
from headwater import AgentNotFound, Config, Conflict, InDoubt
from tests.support.clusters import Kafka, fresh_config, ours

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def config(headwater_kafka: Kafka) -> Config:
    """Settings of this module's own topics."""
    return fresh_config(headwater_kafka)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine, with a limit."""
    asyncio.run(asyncio.wait_for(main, 60))


def test_the_async_twin(config: Config) -> None:
    """Everything that the synchronous client does, awaited."""

    async def main() -> None:
        async with headwater.connect(config) as hw:
            async with hw.agent("twin", session="s-1") as agent:
                async with agent.change() as state:
                    state.messages.append({"role": "user", "content": "…"})
                for i in range(1, 101):
                    async with agent.change(wait=False) as state:
                        state.step = i
                await agent.flush()
                async with agent.change(level=headwater.STRONG) as state:
                    state.status = "searching"
                whole = agent.copy()
                whole.data["plan"] = ["read"]
                await agent.replace(whole)
                assert agent.version == 103
                with pytest.raises(ZeroDivisionError):
                    async with agent.change() as state:
                        state.step = 1 // 0
            assert (await hw.get("twin")).state == whole
            assert [i async for i in hw.agents()] == ["twin"]
            watched = [r.version async for r in hw.watch("twin", timeout=timedelta(seconds=0.3))]
            assert watched == [103]
            assert [r.agent_id async for r in hw.recover_many()] == ["twin"]
            await hw.delete("twin")
            with pytest.raises(AgentNotFound):
                await hw.recover("twin")

    run(main())


def test_many_tasks_at_once(config: Config) -> None:
    """A hundred agents change side by side on one connection and one event loop."""

    async def one(hw: headwater.AsyncClient, name: str) -> None:
        async with hw.agent(name) as agent:
            for i in range(10):
                async with agent.change() as state:
                    state.messages.append(i)

    async def main() -> None:
        async with headwater.connect(config) as hw:
            names = {f"task-{i}" for i in range(100)}
            await asyncio.gather(*(one(hw, name) for name in names))
            found = [r async for r in hw.recover_many(names)]
            states = {r.agent_id: r.state.messages for r in found}  # type: ignore[union-attr]
            assert states == {name: list(range(10)) for name in names}

    run(main())


def test_async_compare_and_set(config: Config) -> None:
    """Without a claim the async twin, too, tells a conflict."""

    async def main() -> None:
        async with headwater.connect(config) as hw:
            async with hw.agent("cas", claim=None) as a, hw.agent("cas", claim=None) as b:
                async with a.change() as state:
                    state.data["n"] = 1
                with pytest.raises(Conflict):
                    async with b.change() as state:
                        state.data["n"] = 2
                async with b.change() as state:
                    state.data["n"] += 1
            assert (await hw.get("cas")).state.data == {"n": 2}

    run(main())


def test_a_cancelled_change_leaves_the_session_in_doubt(
    headwater_kafka: Kafka, config: Config
) -> None:
    """Cancelling a change while it waits makes later ones raise InDoubt until flush has told
    whether it counts; nothing is lost or done twice.
    """
    kafka = ours(headwater_kafka)

    async def slow(agent: headwater.AsyncSession) -> None:
        async with agent.change() as state:
            state.messages.append("cancelled")

    async def main() -> None:
        async with headwater.connect(config) as hw, hw.agent("cancelled") as agent:
            async with agent.change() as state:
                state.messages.append("before")
            kafka.pause(1)
            try:
                task = asyncio.create_task(slow(agent))
                await asyncio.sleep(0.2)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                with pytest.raises(InDoubt):
                    async with agent.change() as state:
                        state.messages.append("too early")
            finally:
                kafka.resume(1)
            try:
                await agent.flush()
                expected = ["before", "cancelled", "after"]
            except headwater.ChangesDropped:
                expected = ["before", "after"]
            async with agent.change() as state:
                state.messages.append("after")
            assert (await hw.get("cancelled")).state.messages == expected

    run(main())
