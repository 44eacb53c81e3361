"""A gate before a listener: shut, it lets nothing through, and says so to nobody, as a broken link
does.
"""

from __future__ import annotations

import contextlib
import socket
import threading

_CHUNK = 1 << 16
_CONNECT_S = 1.0
_POLL_S = 0.1


class Gate:
    """Listens on a port of its own and hands on to ``target``, while it is open."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._ended = threading.Event()
        self._server = socket.create_server((target[0], 0))
        self.address = f"{target[0]}:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, name="drill-gate", daemon=True).start()

    def shut(self) -> None:
        """Let nothing through from now on."""
        self._open.clear()

    def open(self) -> None:
        """Let everything through, what has waited too."""
        self._open.set()

    def close(self) -> None:
        """Listen no more."""
        self._ended.set()
        self._open.set()
        # A thread that waits in accept() holds the socket open after close().
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client:
            self._open.wait()
            try:
                target = socket.create_connection(self._target, _CONNECT_S)
            except OSError:
                return
            with target:
                for each in (client, target):
                    each.settimeout(_POLL_S)
                back = threading.Thread(target=self._pump, args=(target, client), daemon=True)
                back.start()
                self._pump(client, target)
                back.join()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.is_set():
                try:
                    data = source.recv(_CHUNK)
                except TimeoutError:
                    continue
                self._open.wait()
                if not data:
                    break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
