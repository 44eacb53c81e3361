"""The same client for asyncio: a thin layer that keeps blocking calls off the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from headwater.agent.checkpoint import Metadata
from headwater.agent.draft import ACKNOWLEDGED, Change, Level
from headwater.agent.parts import Settled
from headwater.agent.restore import Restored
from headwater.agent.session import Session
from headwater.agent.unclaimed import UnclaimedSession
from headwater.client import Client
from headwater.errors import ChangeRejected, HeadwaterError
from headwater.fleet.records import Route
from headwater.keeping import Emergency
from headwater.log.checkpoints import Checkpoint
from headwater.mending import Reconstructed, Repaired
from headwater.recovery import Failed, Recovered
from headwater.recovery.listing import SnapshotInfo
from headwater.recovery.predict import FleetPrediction, Prediction
from headwater.recovery.rehearse import Function, Rehearsed
from headwater.recovery.travel import Moment
from headwater.state.compare import Difference
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
    def epoch(self) -> int:
        """The epoch in which this session owns the agent; 0 without a claim."""
        return getattr(self._session, "epoch", 0)

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

    async def checkpoint(
        self,
        type: str = "manual",  # noqa: A002 - the name that the log has for it
        label: str = "",
        metadata: Metadata | None = None,
        *,
        wait: bool = True,
        level: Level = ACKNOWLEDGED,
        self_contained: bool = False,
    ) -> Checkpoint:
        """Keep this moment of the agent; see :meth:`Session.checkpoint`."""
        session, given = self._session, (type, label, metadata)
        if not wait:
            options: dict[str, Any] = {"level": level, "self_contained": self_contained}
            return await asyncio.to_thread(session.checkpoint, *given, wait=False, **options)
        # Hashing a large state takes milliseconds.
        made, pending = await asyncio.to_thread(session.send_checkpoint, *given, self_contained)
        await session.settle_async(pending, level)
        return made

    async def restore(self, moment: Moment, *, reason: str = "") -> Restored:
        """Put the state back to what it was at ``moment``; see :meth:`Session.restore`."""
        if isinstance(self._session, UnclaimedSession):
            raise ChangeRejected("restore() needs a claim")
        return await asyncio.to_thread(self._session.restore, moment, reason=reason)

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

    async def get(self, agent_id: str, *, upgrade: bool = True) -> Recovered:
        """The agent as of the end of the log, without claiming it."""
        return await asyncio.to_thread(self._client.get, agent_id, upgrade=upgrade)

    async def recover(self, agent_id: str, *, upgrade: bool = True) -> Recovered:
        """Read the agent back from index, snapshots and tail, proving each."""
        return await asyncio.to_thread(self._client.recover, agent_id, upgrade=upgrade)

    def recover_many(
        self, agent_ids: Iterable[str] | None = None
    ) -> AsyncIterator[Recovered | Failed]:
        """Recover each of ``agent_ids`` (None: every agent), in the log's order."""
        return _aiter(lambda: self._client.recover_many(agent_ids))

    def agents(self) -> AsyncIterator[str]:
        """The ids of all agents, partition by partition."""
        return _aiter(self._client.agents)

    async def predict(self, agent_id: str) -> Prediction:
        """What recovering the agent now would read, and the time that this predicts."""
        return await asyncio.to_thread(self._client.predict, agent_id)

    async def predict_fleet(self) -> FleetPrediction:
        """The prediction for each agent in the index, and for recovering all of them at once."""
        return await asyncio.to_thread(self._client.predict_fleet)

    def watch(self, agent_id: str, *, timeout: timedelta | None = None) -> AsyncIterator[Recovered]:
        """The agent now, and again after each change."""
        return _aiter(lambda: self._client.watch(agent_id, timeout=timeout))

    async def checkpoint(
        self,
        agent_id: str,
        type: str = "manual",  # noqa: A002 - the name that the log has for it
        label: str = "",
        metadata: Metadata | None = None,
        **options: Any,
    ) -> Checkpoint:
        """Keep the moment at which an agent is now, whoever owns it."""
        given = (agent_id, type, label, metadata)
        return await asyncio.to_thread(self._client.checkpoint, *given, **options)

    async def checkpoints(self, agent_id: str) -> list[Checkpoint]:
        """The agent's checkpoints, newest first."""
        return await asyncio.to_thread(self._client.checkpoints, agent_id)

    async def delete_checkpoint(
        self, agent_id: str, checkpoint_id: str, *, reason: str = ""
    ) -> Checkpoint:
        """Give a checkpoint up, and return what it was."""
        return await asyncio.to_thread(
            self._client.delete_checkpoint, agent_id, checkpoint_id, reason=reason
        )

    async def export_checkpoint(
        self, agent_id: str, checkpoint_id: str, *, codec: str = "by-size"
    ) -> bytes:
        """A checkpoint as a file that needs nothing else to have its state again."""
        return await asyncio.to_thread(
            self._client.export_checkpoint, agent_id, checkpoint_id, codec=codec
        )

    async def import_checkpoint(
        self, data: bytes, new_id: str, *, session: str | None = None
    ) -> Recovered:
        """Begin an agent with the state of a checkpoint's file."""
        return await asyncio.to_thread(
            self._client.import_checkpoint, data, new_id, session=session
        )

    async def emergency(self, reason: str, **options: Any) -> list[Emergency]:
        """Keep the moment of every agent that is open in this process."""
        return await asyncio.to_thread(self._client.emergency, reason, **options)

    async def at(self, agent_id: str, moment: Moment) -> Recovered:
        """The agent as it was at a moment; see :meth:`Client.at`."""
        return await asyncio.to_thread(self._client.at, agent_id, moment)

    async def snapshots(self, agent_id: str, **options: Any) -> list[SnapshotInfo]:
        """The agent's snapshots, newest first; options as in :meth:`Client.snapshots`."""
        return await asyncio.to_thread(self._client.snapshots, agent_id, **options)

    async def diff(self, agent_id: str, a: Moment, b: Moment) -> Difference:
        """What is different at ``b`` from what was at ``a``."""
        return await asyncio.to_thread(self._client.diff, agent_id, a, b)

    async def fork(self, agent_id: str, at: Moment, new_id: str, **options: Any) -> Recovered:
        """Begin ``new_id`` with the state of ``agent_id`` at a moment; see :meth:`Client.fork`."""
        return await asyncio.to_thread(self._client.fork, agent_id, at, new_id, **options)

    async def restore(self, agent_id: str, moment: Moment, **options: Any) -> Restored:
        """Put an agent back to a moment; options as in :meth:`Client.restore`."""
        return await asyncio.to_thread(self._client.restore, agent_id, moment, **options)

    async def undo_restore(self, agent_id: str, **options: Any) -> Restored:
        """Put an agent back to what it was before its last restore."""
        return await asyncio.to_thread(self._client.undo_restore, agent_id, **options)

    def rehearse(
        self, agent_ids: Iterable[str] | None, function: Function
    ) -> AsyncIterator[Rehearsed | Failed]:
        """Run what agents have recorded through new code, which is called on other threads."""
        return _aiter(lambda: self._client.rehearse(agent_ids, function))

    async def repair(self, agent_id: str, **options: Any) -> Repaired:
        """Go on from the last state that is proved; see :meth:`Client.repair`."""
        return await asyncio.to_thread(self._client.repair, agent_id, **options)

    async def reconstruct(self, agent_ids: Iterable[str] | None = None) -> list[Reconstructed]:
        """Make lost states anew that were declared on :attr:`client` with ``derive``."""
        return await asyncio.to_thread(self._client.reconstruct, agent_ids)

    async def locate(self, agent_id: str) -> Route:
        """Where an agent runs; see :meth:`Client.locate`."""
        return await asyncio.to_thread(self._client.locate, agent_id)

    def routes(self, **options: Any) -> AsyncIterator[Route]:
        """The route of every agent, and its changes; options as in :meth:`Client.routes`."""
        return _aiter(lambda: self._client.routes(**options))

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
