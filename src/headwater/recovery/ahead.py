"""Runs an iterator on a thread of its own, some items ahead of its reader."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")

_PUT_S = 0.1


class _End:
    """What stands in the queue after the last item: the error that ended it, if one did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """The items of ``items``, at most ``depth`` of them waiting; its errors are raised here.

    What reads from brokers waits for them much of the time; what proves states does not.
    """
    line: queue.Queue[T | _End] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: T | _End) -> None:
        while not stop.is_set():
            try:
                line.put(item, timeout=_PUT_S)
            except queue.Full:
                continue
            return

    def run() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
        except BaseException as raised:  # noqa: BLE001 - raised again where the items are read
            error = raised
        finally:
            put(_End(error))

    thread = threading.Thread(target=run, name="headwater-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = line.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stop.set()
        thread.join()
