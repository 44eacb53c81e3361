"""A node's health endpoint, and its look at those of its peers: on a loop of their own."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

from headwater.clock import suspended_clock
from headwater.config import Config
from headwater.errors import ConfigError
from headwater.fleet.pulse import Life
from headwater.fleet.records import NodeMode, PeerReport
from headwater.node.fleet import Fleet

log = logging.getLogger("headwater.node")

_FAILURES = 3
_AT_ONCE = 32
_START_S = 10.0

State = Callable[[], dict[str, Any]]


class Neighbour:
    """How one other node was reached lately."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._failures = 0
        self._rtt_ms = -1.0
        self.asked = False

    def answered(self, seconds: float) -> None:
        """It answered."""
        self.asked = True
        self._failures, self._rtt_ms = 0, seconds * 1000

    def failed(self) -> None:
        """It did not."""
        self.asked = True
        self._failures += 1

    def report(self) -> PeerReport:
        """Reachable until it failed to answer several times in a row."""
        reachable = self._failures < _FAILURES
        return PeerReport(
            node_id=self._node_id,
            reachable=reachable,
            rtt_ms=self._rtt_ms if reachable and not self._failures else -1.0,
        )


class Health:
    """Serves ``/health``, and asks the peers for theirs every two heartbeats.

    A large fleet is asked in turns, some nodes at a time.
    """

    def __init__(
        self, config: Config, state: State, fleet: Fleet, listen: str, advertise: str | None
    ) -> None:
        self._config = config
        self._state = state
        self._fleet = fleet
        self._host, self._port = parse_address(listen)
        self._advertise = advertise
        self._every_s = config.timing.heartbeat.total_seconds() * 2
        self._address = ""
        self._problem: Exception | None = None
        self._bound = threading.Event()
        self._neighbours: dict[str, Neighbour] = {}
        self._turn = 0

    def run(self, stop: threading.Event) -> None:
        """Serve and ask until told to stop."""
        asyncio.run(self._run(stop))

    def await_address(self) -> str:
        """Where it can be reached, once it can; raises :class:`ConfigError` if it never can."""
        self._bound.wait(_START_S)
        if not self._address:
            raise ConfigError(
                f"the health endpoint cannot listen at {self._host}:{self._port}: "
                f"{self._problem or 'no answer'}"
            )
        return self._address

    def peers(self) -> list[PeerReport]:
        """How the node sees the others."""
        return [n.report() for n in list(self._neighbours.values()) if n.asked]

    async def _run(self, stop: threading.Event) -> None:
        app = web.Application()
        app.router.add_get("/health", self._health)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await self._listen(site)
            port = runner.addresses[0][1]
            self._address = self._advertise or f"{self._host}:{port}"
            self._bound.set()
            # A connection may hang in a cut link: none is kept for the next time.
            connector = TCPConnector(limit=_AT_ONCE, force_close=True)
            async with ClientSession(
                connector=connector, timeout=ClientTimeout(total=self._every_s)
            ) as session:
                while not stop.is_set():
                    began_s = suspended_clock()
                    await self._ask_all(session)
                    left_s = self._every_s - (suspended_clock() - began_s)
                    await asyncio.sleep(max(0.01, min(left_s, self._every_s)))
        finally:
            await runner.cleanup()

    async def _listen(self, site: web.TCPSite) -> None:
        try:
            await site.start()
        except OSError as error:
            self._problem = error
            self._bound.set()
            raise

    async def _health(self, _: web.Request) -> web.Response:
        state = self._state()
        status = 503 if state["mode"] == NodeMode.FENCED.value else 200
        return web.json_response(state, status=status)

    async def _ask_all(self, session: ClientSession) -> None:
        lives = {life.node_id: life for life in self._fleet.others() if life.address}
        for node_id in list(self._neighbours):
            if node_id not in lives:
                del self._neighbours[node_id]
        for node_id in lives:
            self._neighbours.setdefault(node_id, Neighbour(node_id))
        names = sorted(lives)
        begin = self._turn % len(names) if len(names) > _AT_ONCE else 0
        chosen = list(itertools.islice(itertools.cycle(names), begin, begin + _AT_ONCE))
        self._turn = begin + _AT_ONCE
        await asyncio.gather(*(self._ask(session, lives[n]) for n in dict.fromkeys(chosen)))

    async def _ask(self, session: ClientSession, life: Life) -> None:
        neighbour = self._neighbours[life.node_id]
        began_s = suspended_clock()
        try:
            async with session.get(f"http://{life.address}/health") as response:
                answer = await response.json()
                # Its port may be another node's by now.
                known = isinstance(answer, dict) and answer.get("node_id") == life.node_id
        except (ClientError, OSError, TimeoutError, ValueError):
            known = False
        if known:
            neighbour.answered(suspended_clock() - began_s)
        else:
            neighbour.failed()


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``host:port``; raises :class:`ConfigError`."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{text!r} is no address: write it as host:port, port 0 for any")
    return host.strip("[]"), int(port)
