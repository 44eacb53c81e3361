"""How a long first-time step is shown on stderr: a line that counts up, or two plain lines."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

_MEGABYTE = 1_000_000


class Progress:
    """Shows ``title`` while its block runs; with ``total_bytes``, how much of it is done.

    On a terminal one line is rewritten; into a pipe, a line at the start and one at the end.
    """

    def __init__(self, title: str, total_bytes: int = 0) -> None:
        self._title = title
        self._total = total_bytes
        self._done = 0
        self._guard = threading.Lock()
        self._live = sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        size = f" ({self._total / _MEGABYTE:.0f} MB)" if self._total else ""
        self._write(f"{self._title}{size}, once ...", end="" if self._live else "\n")
        return self

    def advance(self, size_bytes: int) -> None:
        """Counts bytes as done; any thread may call it."""
        with self._guard:
            self._done += size_bytes
            if self._live:
                share = f"{self._done / _MEGABYTE:.0f} of {self._total / _MEGABYTE:.0f} MB"
                self._write(f"\r{self._title}, once ... {share}", end="")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        took = f"{time.monotonic() - self._began:.1f} s"
        word = "done in" if kind is None else "failed after"
        start = "\r" if self._live else ""
        padding = " " * 20 if self._live else ""
        self._write(f"{start}{self._title}: {word} {took}{padding}", end="\n")

    def _write(self, text: str, *, end: str) -> None:
        if sys.stderr is not None:
            sys.stderr.write(text + end)
            sys.stderr.flush()
