"""Asks a broker, over a bare socket, which brokers its cluster has.

A Kafka client would do, but its reconnect back-off (100 ms and growing) would be a tenth of a
start, and a start is watched by a person.
"""

from __future__ import annotations

import socket
import struct

from headwater.local.settings import LOOPBACK

_METADATA, _METADATA_VERSION = 3, 1
_INIT_PRODUCER_ID, _INIT_PRODUCER_ID_VERSION = 22, 0
_CORRELATION = 7
_CLIENT = b"headwater-probe"


def live_brokers(port: int, host: str = LOOPBACK, *, timeout_s: float = 1.0) -> frozenset[int]:
    """The ids of the brokers that the one at this port sees alive; empty while it cannot answer."""
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            no_topics = struct.pack(">i", 0)
            return parse_brokers(_ask(connection, _METADATA, _METADATA_VERSION, no_topics))
    except (OSError, EOFError, struct.error):
        return frozenset()


def warm_up(port: int, host: str = LOOPBACK, *, timeout_s: float = 1.0) -> None:
    """Has the broker fetch its first block of producer ids.

    The first idempotent producer would otherwise be turned away, wait 500 ms, and log a warning.
    """
    nobody_for_a_minute = struct.pack(">hi", -1, 60_000)
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            _ask(connection, _INIT_PRODUCER_ID, _INIT_PRODUCER_ID_VERSION, nobody_for_a_minute)
    except (OSError, EOFError, struct.error):
        pass  # then that producer waits


def _ask(connection: socket.socket, api: int, version: int, body: bytes) -> bytes:
    header = struct.pack(">hhih", api, version, _CORRELATION, len(_CLIENT)) + _CLIENT
    connection.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
    size = struct.unpack(">i", _read(connection, 4))[0]
    return _read(connection, size)


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def parse_brokers(response: bytes) -> frozenset[int]:
    """Broker ids of a Metadata response, version 1, without its length prefix."""
    correlation, count = struct.unpack_from(">ii", response)
    if correlation != _CORRELATION:
        return frozenset()
    offset, ids = 8, set()
    for _ in range(count):
        broker, host_size = struct.unpack_from(">ih", response, offset)
        offset += 6 + host_size + 4  # host, then the port
        (rack_size,) = struct.unpack_from(">h", response, offset)
        offset += 2 + max(rack_size, 0)
        ids.add(broker)
    return frozenset(ids)
