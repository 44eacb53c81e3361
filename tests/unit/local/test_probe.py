"""The bare metadata request against a fake broker."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

from headwater.local.probe import live_brokers, parse_brokers, warm_up


def metadata(*brokers: int, rack: bytes | None = None) -> bytes:
    """A Metadata response that names these brokers."""
    body = struct.pack(">ii", 7, len(brokers))
    for broker in brokers:
        body += struct.pack(">ih", broker, 9) + b"127.0.0.1" + struct.pack(">i", 9092)
        body += struct.pack(">h", -1) if rack is None else struct.pack(">h", len(rack)) + rack
    return body + struct.pack(">ii", brokers[0] if brokers else -1, 0)


def answering(reply: Callable[[socket.socket], None]) -> int:
    """The port of a server that answers one connection."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with server, connection:
            connection.recv(1000)
            reply(connection)

    threading.Thread(target=serve, daemon=True).start()
    port: int = server.getsockname()[1]
    return port


def test_brokers_are_read_with_and_without_racks() -> None:
    """Racks, which come after each broker, do not shift what follows."""
    assert parse_brokers(metadata(1, 2, 3)) == {1, 2, 3}
    assert parse_brokers(metadata(4, 5, rack=b"left")) == {4, 5}
    assert parse_brokers(metadata()) == frozenset()


def test_an_answer_in_pieces_is_put_together() -> None:
    """TCP may deliver one byte at a time."""

    def drip(connection: socket.socket) -> None:
        data = metadata(1, 3)
        for byte in struct.pack(">i", len(data)) + data:
            connection.sendall(bytes([byte]))

    assert live_brokers(answering(drip)) == {1, 3}


def test_nobody_there_means_no_brokers() -> None:
    """A refused connection is an empty answer, not an error."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert live_brokers(port) == frozenset()
    warm_up(port)


def test_somebody_who_hangs_up_means_no_brokers() -> None:
    """A broker that is not ready closes, and so does a stranger's server."""
    assert live_brokers(answering(lambda connection: None)) == frozenset()


def test_somebody_who_talks_nonsense_means_no_brokers() -> None:
    """What is not Kafka is not taken for it."""
    assert live_brokers(answering(lambda c: c.sendall(b"HTTP/1.1 400 no\r\n")), timeout_s=0.2) == (
        frozenset()
    )
