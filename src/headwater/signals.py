"""Emergency checkpoints when the process is told to stop."""

from __future__ import annotations

import logging
import queue
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

from headwater.client import Client
from headwater.errors import ConfigError, HeadwaterError

log = logging.getLogger("headwater.signals")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_WITHIN = timedelta(seconds=5)


@contextmanager
def checkpoint_on_signals(
    client: Client,
    signals: Iterable[signal.Signals] = _SIGNALS,
    *,
    within: timedelta = _WITHIN,
) -> Iterator[None]:
    """For the length of the block, a signal first makes an emergency checkpoint of every agent
    that is open in this process, and then does what it would have done.

    That takes no longer than ``within``, and a second signal does not wait for it. For the main
    thread only, as Python's handlers are; :class:`ConfigError` in others.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError("signals can be handled in a process's main thread only")
    keeper = _Keeper(client, within)
    before = {number: signal.getsignal(number) for number in signals}
    keeper.before = before
    try:
        for number in before:
            signal.signal(number, keeper.handle)
        yield
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python, and cannot be set again from here.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        keeper.end()


class _Keeper:
    """The handler only wakes a thread: it may run in the midst of anything, a lock held."""

    def __init__(self, client: Client, within: timedelta) -> None:
        self.before: dict[signal.Signals, Any] = {}
        self._client = client
        self._within = within
        self._keeping = False
        # The one queue whose put() may be called from a handler that interrupts another put().
        self._calls: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._main = threading.main_thread().ident or 0
        self._thread = threading.Thread(target=self._run, name="headwater-signals", daemon=True)
        self._thread.start()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler: a signal wakes the thread; the next one, which is the thread's own unless
        somebody cannot wait for it, goes to the handler of before.
        """
        if not self._keeping:
            self._keeping = True
            self._calls.put(number)
            return
        self._keeping = False
        before = self.before[signal.Signals(number)]
        if callable(before):
            before(number, frame)
        elif before != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(signal.Signals(number))

    def end(self) -> None:
        """Stop waiting for signals."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (number := self._calls.get()) is not None:
            try:
                self._keep(signal.Signals(number).name)
            finally:
                if self._keeping:
                    # To the main thread itself: only so is a call interrupted that it waits in.
                    signal.pthread_kill(self._main, number)

    def _keep(self, name: str) -> None:
        try:
            made = self._client.emergency(f"{name} received", within=self._within)
        except HeadwaterError as error:
            log.warning("no emergency checkpoints on %s: %s", name, error)
            return
        for each in made:
            if each.error is not None:
                log.warning("no emergency checkpoint: %s", each.error)
        log.info("%s: emergency checkpoints of %d agents", name, len(made))
