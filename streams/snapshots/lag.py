"""Where the partitions end, by the brokers' own word, and whether reading has come to a halt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future

from headwater.errors import HeadwaterError

log = logging.getLogger("headwater.compactor")


_PATIENCE = 10  # looks; with a large backlog a partition's turn can be seconds away


class Lag:
    """``ends`` are the ends as last heard. ``ask`` gives a partition's end; it may block."""

    def __init__(self, ask: Callable[[int], int] | None = None) -> None:
        self.ends: dict[int, int] = {}
        self.ask = ask
        self._looking: Future[None] | None = None
        self._waited: dict[int, tuple[int, int]] = {}

    def look(self, pool: Executor, numbers: Iterable[int]) -> None:
        """Ask for the ends, in ``pool``, unless an earlier question is still open."""
        if self._looking is None or self._looking.done():
            self._looking = pool.submit(self._ask, tuple(numbers))

    def _ask(self, numbers: Iterable[int]) -> None:
        try:
            for number in numbers:
                if self.ask is not None:
                    self.ends[number] = self.ask(number)
        except HeadwaterError as error:
            log.debug("where events end is not known: %s", error)

    def stalled(self, next_offsets: Mapping[int, int | None]) -> list[int]:
        """Of the partitions that are being read, those that have been behind their end and come no
        further for ten calls in a row.
        """
        halted = []
        waited = self._waited
        self._waited = {}
        for number, offset in next_offsets.items():
            if offset is None or offset >= self.ends.get(number, 0):
                continue
            before, looks = waited.get(number, (offset, 0))
            looks = looks + 1 if before == offset else 0
            if looks >= _PATIENCE:
                halted.append(number)
            else:
                self._waited[number] = (offset, looks)
        return halted

    def forget(self, number: int) -> None:
        """Forget a partition that was given up."""
        self.ends.pop(number, None)
