"""The gate before a listener: open it hands on, shut it is silent, and open again it goes on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from headwater.drill.gate import Gate


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what comes."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=_send_back, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def _send_back(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(100):
            connection.sendall(data)


def _connect(gate: Gate) -> socket.socket:
    host, _, port = gate.address.rpartition(":")
    return socket.create_connection((host, int(port)), 1)


def test_a_gate_opens_and_shuts(echo: tuple[str, int]) -> None:
    """Shut, it takes connections and says nothing; what waited comes through once it is open."""
    gate = Gate(echo)
    try:
        with _connect(gate) as before:
            before.settimeout(5)
            before.sendall(b"one")
            assert before.recv(10) == b"one"
            gate.shut()
            before.settimeout(0.3)
            before.sendall(b"two")
            with pytest.raises(TimeoutError):
                before.recv(10)
            with _connect(gate) as during:
                during.settimeout(0.3)
                during.sendall(b"three")
                with pytest.raises(TimeoutError):
                    during.recv(10)
                gate.open()
                for connection, word in ((before, b"two"), (during, b"three")):
                    connection.settimeout(5)
                    assert connection.recv(10) == word
    finally:
        gate.close()


def test_a_gate_that_was_closed_takes_nobody(echo: tuple[str, int]) -> None:
    """After close() nobody listens any more."""
    gate = Gate(echo)
    gate.close()
    with pytest.raises(OSError):
        _connect(gate)
