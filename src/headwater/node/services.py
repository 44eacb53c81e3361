"""The node's threads: one that an error ends is begun again, one that dies of a fault says so."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from headwater.errors import RetryableError

log = logging.getLogger("headwater.node")

_AGAIN_S = 0.5

Run = Callable[[threading.Event], None]
"""Does its work until the event is set."""


class Services:
    """Threads that run until they are told to stop. ``failed`` is told of one that died."""

    def __init__(self, failed: Callable[[str, BaseException], None]) -> None:
        self._failed = failed
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, run: Run) -> None:
        """Run something on a thread of its own."""
        thread = threading.Thread(
            target=self._run, args=(name, run), name=f"headwater-{name}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Tell all to stop, and wait for them."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self, name: str, run: Run) -> None:
        while not self._stop.is_set():
            try:
                run(self._stop)
                return
            except RetryableError as error:
                log.warning("%s: %s", name, error)
                self._stop.wait(_AGAIN_S)
            except BaseException as fault:
                log.exception("the node's thread %r died", name)
                self._failed(name, fault)
                return
