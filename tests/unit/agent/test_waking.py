"""Waking tasks of a loop from other threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from headwater.agent.waking import waker


def test_every_event_is_set_whoever_wakes_it() -> None:
    """Threads that wake at the same time lose none of it."""

    async def wait_for_all() -> None:
        mine = waker()
        assert waker() is mine
        events = [asyncio.Event() for _ in range(4000)]
        parts = [events[number::4] for number in range(4)]

        def wake(part: list[asyncio.Event]) -> None:
            for event in part:
                mine.wake(event)

        threads = [threading.Thread(target=wake, args=(part,)) for part in parts]
        for thread in threads:
            thread.start()
        for event in events:
            await asyncio.wait_for(event.wait(), 5)
        for thread in threads:
            thread.join()

    asyncio.run(wait_for_all())


def test_many_are_woken_by_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is not called for each of those that come before it gets its turn."""

    async def wake_many() -> int:
        loop = asyncio.get_running_loop()
        call, calls = loop.call_soon_threadsafe, 0

        def counted(*args: object) -> object:
            nonlocal calls
            calls += 1
            return call(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        events = [asyncio.Event() for _ in range(100)]
        mine = waker()
        for event in events:
            mine.wake(event)
        for event in events:
            await event.wait()
        return calls

    assert asyncio.run(wake_many()) == 1


def test_a_loop_that_has_ended_is_nobodys_error() -> None:
    """An acknowledgement may come after the tasks that waited for it are gone; another loop in
    the same thread has a waker of its own.
    """

    async def own() -> object:
        return waker()

    first, second = asyncio.run(own()), asyncio.run(own())
    assert first is not second
    first.wake(asyncio.Event())  # type: ignore[attr-defined]
