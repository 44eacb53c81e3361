"""All that insights knows: panes by source, and which windows are still to be published. Pure.

Time is what ticks say, and all that happens follows from the samples and ticks in the log. What
changes in memory is handed out as records to be kept, and a board is made again from those.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from headwater.fleet.records import Metric

from .cells import Total
from .samples import CommitSample, NodeSample, OutcomeSample
from .sources import (
    Memory,
    Pane,
    components,
    source_of,
    take_beat,
    take_commit,
    take_outcome,
    withdraw,
)

_encode = msgspec.msgpack.Encoder().encode
_FORGOTTEN_MS = 3_600_000
_SETTLED = "settled"
Write = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Milliseconds. Tumbling windows of ``pane_ms``, and sliding ones of ``sliding_ms`` that begin
    with each pane. A window is over ``grace_ms`` after its end; ``keep_ms`` is how long panes are
    kept, for what comes late and for an instance that was away.
    """

    pane_ms: int = 5_000
    sliding_ms: int = 60_000
    grace_ms: int = 2_000
    keep_ms: int = 300_000

    def __post_init__(self) -> None:
        if self.pane_ms <= 0 or self.sliding_ms % self.pane_ms or self.sliding_ms <= 0:
            raise ValueError("the sliding window must be a multiple of the tumbling one")
        if self.keep_ms < 2 * self.sliding_ms:
            raise ValueError("panes must be kept for two sliding windows at least")

    def pane_of(self, at_ms: int) -> int:
        """The beginning of the pane of a moment."""
        return at_ms - at_ms % self.pane_ms

    def of(self, pane: int) -> Iterator[tuple[int, int]]:
        """Length and beginning of every window that a pane is in."""
        yield self.pane_ms, pane
        if self.sliding_ms > self.pane_ms:
            for start in range(pane - self.sliding_ms + self.pane_ms, pane + 1, self.pane_ms):
                yield self.sliding_ms, start


class _Source:
    def __init__(self) -> None:
        self.memory = Memory()
        self.panes: dict[int, Pane] = {}


class Board:
    """Takes samples and ticks in. ``records``: what an earlier board handed out to be kept."""

    def __init__(self, windows: Windows, records: Iterable[tuple[str, bytes]] = ()) -> None:
        self._windows = windows
        self._sources: defaultdict[str, _Source] = defaultdict(_Source)
        self._pending: defaultdict[tuple[int, int], set[str]] = defaultdict(set)
        self._settled_ms = 0
        for key, value in records:
            self._load(key, value)
        for name, source in self._sources.items():
            for start, pane in source.panes.items():
                self._await(name, start, pane, everything=pane.late)

    def _load(self, key: str, value: bytes) -> None:
        kind, _, rest = key.partition("|")
        if kind == _SETTLED:
            self._settled_ms = msgspec.msgpack.decode(value, type=int)
        elif kind == "memory":
            self._sources[rest].memory = msgspec.msgpack.decode(value, type=Memory)
        else:
            name, _, start = rest.rpartition("|")
            self._sources[name].panes[int(start)] = msgspec.msgpack.decode(value, type=Pane)

    def _await(self, name: str, start: int, pane: Pane, *, everything: bool) -> None:
        """Have the windows published that a pane is in: all, or those that were not yet over."""
        parts = {part for cells in pane.entries.values() for part in cells}
        wanted = {each for part in parts for each in components(name, part)}
        for length, first in self._windows.of(start):
            if everything or not self._is_over(length, first):
                self._pending[length, first] |= wanted

    def _is_over(self, length: int, start: int) -> bool:
        return start + length + self._windows.grace_ms <= self._settled_ms

    def take(self, sample: NodeSample | CommitSample | OutcomeSample) -> list[Write]:
        """Count a sample; the records to keep, in the order in which they must be written."""
        start = self._windows.pane_of(sample.at_ms)
        name = source_of(sample)
        source = self._sources[name]
        gone = start < self._settled_ms - self._windows.keep_ms
        # What is too old for any pane is not counted, yet the next is compared with it.
        pane = Pane() if gone else source.panes.get(start) or Pane()
        replaced: int | None = None
        if isinstance(sample, NodeSample):
            if not take_beat(sample, source.memory, pane):
                return []
        elif isinstance(sample, CommitSample):
            replaced = take_commit(sample, source.memory, pane, start)
        else:
            take_outcome(sample, pane)
        source.memory.last_ms = sample.at_ms
        writes: list[Write] = []
        if replaced is not None and (other := source.panes.get(replaced)) is not None:
            withdraw(other, str(source.memory.start))
            writes.append(self._changed(name, replaced, other))
        if not gone:
            source.panes[start] = pane
            writes.append(self._changed(name, start, pane))
        writes.append((f"memory|{name}", _encode(source.memory)))
        return writes

    def _changed(self, name: str, start: int, pane: Pane) -> Write:
        pane.late = pane.late or self._is_over(self._windows.pane_ms, start)
        self._await(name, start, pane, everything=True)
        return f"pane|{name}|{start}", _encode(pane)

    def tick(self, now_ms: int) -> list[Metric]:
        """The metrics of the windows that are over and were not yet published as they are now."""
        over = [
            window
            for window in self._pending
            if window[0] + window[1] + self._windows.grace_ms <= now_ms
        ]
        found: list[Metric] = []
        for window in sorted(over, key=lambda each: (each[1], each[0])):
            wanted = self._pending.pop(window)
            # Of older ones, panes may be gone: what was published last is what counts.
            if window[1] >= self._settled_ms - self._windows.keep_ms:
                found += self._metrics(*window, wanted)
        return found

    def _metrics(self, length: int, start: int, wanted: set[str]) -> Iterator[Metric]:
        totals: defaultdict[str, Total] = defaultdict(Total)
        for name, source in self._sources.items():
            panes = range(start, start + length, self._windows.pane_ms)
            held = [source.panes[each] for each in panes if each in source.panes]
            for number, pane in enumerate(held, start=1):
                for cells in pane.entries.values():
                    for part, cell in cells.items():
                        for component in wanted.intersection(components(name, part)):
                            totals[component].add(name, cell, last=number == len(held))
        for component in sorted(totals):
            yield from totals[component].metrics(component, start, length)

    def settle(self, now_ms: int) -> list[Write]:
        """What :meth:`tick` gave at ``now_ms`` is published; the records to keep."""
        if now_ms <= self._settled_ms:
            return []
        self._settled_ms = now_ms
        oldest = now_ms - self._windows.keep_ms
        writes: list[Write] = []
        for name, source in list(self._sources.items()):
            for start in [each for each in source.panes if each < oldest]:
                del source.panes[start]
                writes.append((f"pane|{name}|{start}", None))
            if not source.panes and source.memory.last_ms < now_ms - _FORGOTTEN_MS:
                del self._sources[name]
                writes.append((f"memory|{name}", None))
        writes.append((f"{_SETTLED}|", _encode(now_ms)))
        return writes
