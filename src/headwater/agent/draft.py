"""The change that an agent makes: a block in which its state is a draft."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol

from headwater.agent.pending import Pending
from headwater.state.draft import StateView


class Level:
    """How much is waited for before a change counts as made."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


ACKNOWLEDGED = Level("ACKNOWLEDGED")
STRONG = Level("STRONG")


class Changeable(Protocol):
    """What a change needs of the session that it belongs to: an owner's, or one without claim."""

    @property
    def troubled(self) -> bool:
        """Whether :meth:`begin` may block, or refuse."""

    def begin(self) -> StateView:
        """Open the draft."""

    def abandon(self) -> None:
        """Take the draft back."""

    def publish(self, *, block: bool) -> Pending | None:
        """Send the draft as one event; None if it is empty. BufferError if that would block."""

    def settle(self, pending: Pending, level: Level) -> None:
        """Wait until the event counts, or raise."""

    async def settle_async(self, pending: Pending, level: Level) -> None:
        """The same without blocking the event loop."""


class Change:
    """``with agent.change() as state`` or ``async with``: one event, all or nothing.

    An exception inside the block publishes nothing and leaves the state as it was.
    """

    __slots__ = ("_level", "_session", "_wait")

    def __init__(self, session: Changeable, wait: bool, level: Level) -> None:
        self._session = session
        self._wait = wait
        self._level = level

    def __enter__(self) -> StateView:
        return self._session.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if kind is not None:
            self._session.abandon()
            return
        pending = self._session.publish(block=True)
        if self._wait and pending is not None:
            self._session.settle(pending, self._level)

    async def __aenter__(self) -> StateView:
        if self._session.troubled:
            return await asyncio.to_thread(self._session.begin)
        return self._session.begin()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._session.abandon()
            return
        try:
            pending = self._session.publish(block=False)
        except BufferError:
            # Back-pressure waits on a thread, not on the event loop.
            pending = await asyncio.to_thread(self._session.publish, block=True)
        if self._wait and pending is not None:
            await self._session.settle_async(pending, self._level)
