"""Free ports for the brokers, chosen where no client's outgoing connection will sit on them."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator, Sequence

from headwater.errors import LocalKafkaError
from headwater.local.settings import LOOPBACK, Node

#: Tried first, so that a person can guess it.
FAVOURITE = 9092
#: Below the range that Linux (32768) and macOS (49152) take outgoing ports from: a port taken from
#: that range may be somebody's connection by the time that the broker restarts.
_RANGE = (20_000, 32_000)


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could bind this port on this machine's address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        # As Java does it: a port in TIME_WAIT counts as free.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
        except OSError:
            return False
        return True


def choose_nodes(
    brokers: int,
    *,
    known: Sequence[Node] = (),
    first: int | None = None,
    keep: bool = False,
    favourite: bool = False,
    host: str = LOOPBACK,
) -> tuple[Node, ...]:
    """Nodes 1..N on free ports, controllers wherever there is room.

    The brokers have ``first``, first + 1, and so on; else the ports of the ``known`` nodes if they
    are all free; else 9092 and up if ``favourite`` and free; else any. A port of ``first`` that is
    taken is a :class:`LocalKafkaError`, and so is one of ``known`` with ``keep``. Whether a port
    is still free when the broker comes to bind it, nobody knows.
    """
    free = _free_ports(host)
    wanted = [node.port for node in known]
    if first is not None:
        wanted = list(range(first, first + brokers))
    if first is not None or (known and keep):
        require_free(wanted, host)
    elif not known and favourite:
        wanted = list(range(FAVOURITE, FAVOURITE + brokers))
    if not wanted or not all(is_free(port, host) for port in wanted):
        wanted = [next(free) for _ in range(brokers)]
    controllers = [node.controller_port for node in known] or [0] * brokers
    return tuple(
        Node(
            id=number,
            port=port,
            controller_port=old if old and old not in wanted and is_free(old, host) else next(free),
            host=host,
        )
        for number, (port, old) in enumerate(zip(wanted, controllers, strict=True), start=1)
    )


def require_free(ports: list[int], host: str = LOOPBACK) -> None:
    """Raises :class:`LocalKafkaError` for the first of these ports that is taken."""
    for port in ports:
        if not is_free(port, host):
            raise LocalKafkaError(
                f"port {port} on {host} is in use by another process; "
                "stop that one, or start Kafka on another port (--port)"
            )


def _free_ports(host: str) -> Iterator[int]:
    seen: set[int] = set()
    for _ in range(1000):
        port = random.randrange(*_RANGE)
        if port not in seen and is_free(port, host):
            seen.add(port)
            yield port
    raise LocalKafkaError(f"no free port between {_RANGE[0]} and {_RANGE[1]} on {host}")
