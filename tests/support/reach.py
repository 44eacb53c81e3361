"""The two ends of a connection, to see what a network lets through.

``serve HOST:PORT`` says where it listens and sends every line back; ``ask HOST:PORT`` connects, and
for each line of its input sends one, and says whether an answer came within a second.
"""

from __future__ import annotations

import socket
import sys
from typing import TextIO

WAIT_S = 1.0


def serve(host: str, port: int) -> None:
    """Send back what comes, one connection after the other."""
    with socket.create_server((host, port)) as server:
        print(":".join(map(str, server.getsockname())), flush=True)
        while True:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(1024):
                    connection.sendall(data)


def ask(host: str, port: int, lines: TextIO) -> None:
    """Say of each line whether it came back."""
    try:
        connection = socket.create_connection((host, port), WAIT_S)
    except OSError:
        print("no", flush=True)
        return
    with connection:
        connection.settimeout(WAIT_S)
        for line in lines:
            print("yes" if _came_back(connection, line.encode()) else "no", flush=True)


def _came_back(connection: socket.socket, line: bytes) -> bool:
    try:
        connection.sendall(line)
        return connection.recv(1024) == line
    except TimeoutError:
        return False


if __name__ == "__main__":
    host, _, port = sys.argv[2].rpartition(":")
    if sys.argv[1] == "serve":
        serve(host, int(port))
    else:
        ask(host, int(port), sys.stdin)
