"""A network without privileges: a TCP proxy before every listener, which a cut link stops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

import psutil

from headwater.local import LocalKafka
from headwater.local.ports import choose_nodes, is_free
from tests.support.network import BROKERS, Place

_LAST_S = 0.05
_CHUNK = 1 << 16


class Proxies:
    """Listeners on the loopback interface, each with a proxy that is what others are told of."""

    def __init__(self) -> None:
        self._pids: dict[str, int] = {}
        self._places: dict[str, Place] = {}
        self._cuts: set[tuple[str, str]] = set()
        self._servers: list[asyncio.Server] = []
        self._mended = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def kafka(self, brokers: int = 3) -> dict[str, Any]:
        """Known ports for the brokers, and proxies before them."""
        first = _free_row(brokers)
        doors = [self._proxy(f"broker-{n + 1}", first + n) for n in range(brokers)]
        advertised = [f"127.0.0.1:{port}" for port in doors]
        return {"brokers": brokers, "port": first, "advertised": advertised}

    def brokers(self, kafka: LocalKafka) -> None:
        """Their names are known."""

    def join(self, name: str) -> Place:
        """A free port, and a proxy before it."""
        if name not in self._places:
            (node,) = choose_nodes(1)
            door = self._proxy(name, node.port)
            self._places[name] = Place(
                name=name, listen=f"127.0.0.1:{node.port}", advertise=f"127.0.0.1:{door}"
            )
        return self._places[name]

    def settle(self, name: str, pid: int) -> None:
        """Connections of this process are those of the place."""
        self._pids[name] = pid

    def cut(self, source: str, target: str) -> None:
        """What is on its way waits in the proxy."""
        self._cuts.add((source, target))

    def mend(self, source: str, target: str) -> None:
        """It goes on."""
        self._cuts.discard((source, target))
        self._loop.call_soon_threadsafe(self._let_go)

    def mend_all(self) -> None:
        """All of it does."""
        self._cuts.clear()
        self._loop.call_soon_threadsafe(self._let_go)

    def _let_go(self) -> None:
        self._mended.set()
        self._mended = asyncio.Event()

    def close(self) -> None:
        """End the proxies, and with them all that goes through them."""
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join()
        self._loop.close()

    def _end(self) -> None:
        for server in self._servers:
            server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.call_later(_LAST_S, self._loop.stop)

    def _proxy(self, target: str, port: int) -> int:
        """Start a proxy before a listener; its port."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.closing(writer):
                await self._carry(reader, writer, target, port)

        started = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(serve, "127.0.0.1", 0), self._loop
        ).result(10)
        self._servers.append(started)
        return int(started.sockets[0].getsockname()[1])

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        target: str,
        port: int,
    ) -> None:
        _at_once(writer)
        source = self._whose(writer.get_extra_info("peername")[1])
        try:
            upstream, downstream = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        _at_once(downstream)
        with contextlib.closing(downstream):
            there = asyncio.create_task(self._pump(reader, downstream, source, target))
            back = asyncio.create_task(self._pump(upstream, writer, target, source))
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            for task in (there, back):
                task.cancel()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str, target: str
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                chunk = await reader.read(_CHUNK)
                while self._is_cut(source, target):
                    await self._mended.wait()
                if not chunk:
                    return
                writer.write(chunk)
                await writer.drain()

    def _is_cut(self, source: str, target: str) -> bool:
        return any((s, t) in self._cuts for s in _names(source) for t in _names(target))

    def _whose(self, port: int) -> str:
        """The place whose process has the connection that comes from this port."""
        for name, pid in list(self._pids.items()):
            with contextlib.suppress(psutil.Error):
                if any(c.laddr.port == port for c in psutil.Process(pid).net_connections("tcp")):
                    return name
        return ""


def _free_row(count: int) -> int:
    """The first of so many free ports that follow each other."""
    while True:
        first = choose_nodes(1)[0].port
        if all(is_free(first + n) for n in range(count)):
            return first


def _names(place: str) -> tuple[str, ...]:
    return (place, BROKERS) if place.startswith("broker-") else (place,)


def _at_once(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
