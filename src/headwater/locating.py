"""The part of a connection that knows where agents run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

from headwater.config import Config
from headwater.errors import AgentNotFound, Unavailable
from headwater.fleet.feed import partition_for
from headwater.fleet.records import Route
from headwater.fleet.routes import Routes
from headwater.log.records import check_agent_id
from headwater.recovery import Recovery
from headwater.topics import connect_fleet

_POLL_S = 0.25


class Locating:
    """Routes, for :class:`~headwater.client.Client`."""

    config: Config
    _recovery: Recovery
    _routes: Routes | None = None
    _routes_lock: threading.Lock

    def _check(self) -> None:
        raise NotImplementedError

    def locate(self, agent_id: str) -> Route:
        """Where an agent runs: node, its address and the epoch in which it has the agent.

        Told by the routes that nodes write when they have taken an agent, as of this call; the
        epoch says which of two is newer. Raises :class:`AgentNotFound` for an agent that no node
        ever ran.
        """
        self._check()
        check_agent_id(agent_id)
        with self._routes_lock:
            route = self._table(agent_id).get(agent_id)
        if route is None:
            raise AgentNotFound(f"agent {agent_id!r}: no node has run it")
        return route

    def routes(self, *, follow: bool = False, timeout: timedelta | None = None) -> Iterator[Route]:
        """The route of every agent; with ``follow``, each change of one from then on as well,
        until nothing has changed for ``timeout`` (None: without end).
        """
        self._check()
        table = self._connect()
        try:
            table.wait()
            yield from table.all()
            last = time.monotonic()
            while follow and (timeout is None or _since(last) < timeout.total_seconds()):
                for route in table.read(_POLL_S):
                    last = time.monotonic()
                    yield route
        finally:
            table.close()

    def _connect(self) -> Routes:
        connect_fleet(self.config)
        return Routes(self.config)

    def _table(self, agent_id: str) -> Routes:
        """The table, with everything that its topic now says of an agent."""
        if self._routes is None:
            self._routes = self._connect()
        table, partition = self._routes, partition_for("routes", agent_id)
        with self._recovery.points.lend() as reader:
            _, end = reader.range(self.config.topic("routes"), partition)
        deadline = time.monotonic() + self.config.read_timeout.total_seconds()
        while not table.has_read(partition, end):
            table.read(_POLL_S)
            if time.monotonic() > deadline:
                raise Unavailable("the routes cannot be read; try again")
        return table

    def _stop_locating(self) -> None:
        with self._routes_lock:
            if self._routes is not None:
                self._routes.close()
                self._routes = None


def _since(moment_s: float) -> float:
    return time.monotonic() - moment_s
