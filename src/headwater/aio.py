"""The same client for asyncio: a thin layer that keeps blocking calls off the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from headwater.agent.draft import ACKNOWLEDGED, Change, Level
from headwater.agent.parts import Settled
from headwater.agent.session import Session
from headwater.agent.unclaimed import UnclaimedSession
from headwater.client import Client
from headwater.errors import ChangeRejected, HeadwaterError
from headwater.recovery import Failed, Recovered
from headwater.state.draft import StateView
from headwater.state.model import AgentState

log = logging.getLogger("headwater.client")

T = TypeVar("T")
_END = object()


class AsyncSession:
    """An agent inside an ``async with``; see :class:`~headwater.agent.session.Session`."""

    def __init__(self, session: Session | UnclaimedSession) -> None:
        self._session = session
        self.recovered = session.recovered

    @property
    def agent_id(self) -> str:
        """The agent."""
        return self._session.agent_id

    @property
    def session_id(self) -> str:
        """The session."""
        return self._session.session_id

    @property
    def version(self) -> int:
        """Version of the state, with the changes that are in flight."""
        return self._session.version

    @property
    def state(self) -> StateView:
        """The state, to be read; :meth:`change` changes it."""
        return self._session.state

    def copy(self) -> AgentState:
        """A plain copy of the state, the caller's to keep."""
        return self._session.copy()

    def change(self, *, wait: bool = True, level: Level = ACKNOWLEDGED) -> Change:
        """``async with agent.change() as state``: one event, all or nothing."""
        return self._session.change(wait=wait, level=level)

    async def replace(
        self, state: AgentState, *, wait: bool = True, level: Level = ACKNOWLEDGED
    ) -> None:
        """Make the state equal to ``state`` in one change."""
        if isinstance(self._session, UnclaimedSession):
            raise ChangeRejected("replace() needs a claim; use change()")
        await self._session.replace_async(state, wait=wait, level=level)

    async def flush(self) -> Settled | None:
        """Settle what is in flight; see :meth:`Session.flush`."""
        return await self._session.flush_async()


class AsyncClient:
    """A connection inside an ``async with``; see :class:`~headwater.client.Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def client(self) -> Client:
        """The client beneath, for threads."""
        return self._client

    @asynccontextmanager
    async def agent(self, agent_id: str, **options: Any) -> AsyncIterator[AsyncSession]:
        """Recover an agent, or begin a new one, and own it for the length of the block; options
        as in :meth:`Client.agent`.
        """
        opened = await asyncio.to_thread(self._client.open, agent_id, **options)
        try:
            yield AsyncSession(opened)
        except BaseException:
            try:
                await asyncio.shield(asyncio.to_thread(opened.release))
            except HeadwaterError as error:
                # The block's own exception is the one to tell.
                log.warning("agent %s was not given up: %s", agent_id, error)
            raise
        await asyncio.to_thread(opened.release)

    async def get(self, agent_id: str) -> Recovered:
        """The agent as of the end of the log, without claiming it."""
        return await asyncio.to_thread(self._client.get, agent_id)

    async def recover(self, agent_id: str) -> Recovered:
        """Read the agent back from index, snapshots and tail, proving each."""
        return await asyncio.to_thread(self._client.recover, agent_id)

    def recover_many(
        self, agent_ids: Iterable[str] | None = None
    ) -> AsyncIterator[Recovered | Failed]:
        """Recover each of ``agent_ids`` (None: every agent), in the log's order."""
        return _aiter(lambda: self._client.recover_many(agent_ids))

    def agents(self) -> AsyncIterator[str]:
        """The ids of all agents, partition by partition."""
        return _aiter(self._client.agents)

    def watch(self, agent_id: str, *, timeout: timedelta | None = None) -> AsyncIterator[Recovered]:
        """The agent now, and again after each change."""
        return _aiter(lambda: self._client.watch(agent_id, timeout=timeout))

    async def delete(self, agent_id: str, **options: Any) -> None:
        """End an agent's life."""
        await asyncio.to_thread(self._client.delete, agent_id, **options)

    async def close(self) -> None:
        """Wait for what is in flight, and give everything back."""
        await asyncio.to_thread(self._client.close)


async def _aiter(start: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """Steps through a blocking iterator on a thread."""
    iterator = await asyncio.to_thread(start)
    try:
        while (item := await asyncio.to_thread(next, iterator, _END)) is not _END:
            yield item  # type: ignore[misc]
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            await asyncio.to_thread(close)
