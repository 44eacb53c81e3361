"""What the programs have in common that run for long: logging, memory, and how they end."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from headwater.errors import HeadwaterError


def run_program(name: str, run: Callable[[], object]) -> int:
    """Run until told to stop, with a log on stderr. Exit code 1 for an error that ended it."""
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("headwater").setLevel(logging.INFO)
    try:
        run()
    except HeadwaterError as error:
        logging.getLogger(f"headwater.{name}").error("%s", error)
        return 1
    return 0


@contextmanager
def settled() -> Iterator[None]:
    """For the length of the block garbage is looked for more rarely, and not among what is in
    memory now. Looking through all of it held up the threads of a node that took 500 agents over
    for half a second, on busy processors, of which its lease had 0.6.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def until_told() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set for the length of the block. In the main thread only."""
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with settled():
            yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
