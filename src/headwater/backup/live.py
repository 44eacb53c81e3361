"""Which records of a backup still count: of each key the newest, unless that is a tombstone."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from headwater.backup.archive import Archive
from headwater.backup.format import INDEX, SNAPSHOTS, Item
from headwater.backup.names import SegmentName
from headwater.errors import CorruptData


@dataclass(slots=True)
class Picked:
    """A segment, and which of its records count: a byte for each, not zero for those that do."""

    name: SegmentName
    counts: bytearray

    def wanted(self, number: int) -> int:
        """Whether a record counts."""
        return self.counts[number]


class Selection:
    """Finds the records that count, segment by segment in their order.

    With ``tombstones`` the newest record of a key counts even where it is one: what came before
    the first segment may still hold something under that key.
    """

    def __init__(self, *, tombstones: bool = False) -> None:
        self.segments: list[Picked] = []
        self._tombstones = tombstones
        self._newest: tuple[dict[bytes, tuple[int, int]], ...] = ({}, {}, {})
        self._last = [-1, -1, -1]

    def take(self, name: SegmentName, items: Sequence[Item]) -> None:
        """The next segment."""
        segment = len(self.segments)
        picked = Picked(name, bytearray(len(items)))
        self.segments.append(picked)
        newest, last = self._newest, self._last
        for number, item in enumerate(items):
            topic, key = item.topic, item.key
            if item.offset <= last[topic]:
                raise CorruptData(f"{name.key} is not in the order of its offsets", "order")
            last[topic] = item.offset
            before = newest[topic].get(key)
            if before is not None:
                self.segments[before[0]].counts[before[1]] = 0
            if item.is_tombstone and not self._tombstones:
                newest[topic].pop(key, None)
                continue
            newest[topic][key] = segment, number
            picked.counts[number] = 1


@dataclass(slots=True)
class Places:
    """Where records of one partition of snapshots will be: those that count, in their order, one
    after the other from ``base`` on.

    A record that a later one of its key replaced is where that one is, as a reader of a compacted
    topic would find it.
    """

    base: int = 0
    offsets: array[int] = field(default_factory=lambda: array("q"))
    replaced: dict[int, int] = field(default_factory=dict)

    def find(self, offset: int) -> int | None:
        """The new offset of a record; None where it does not count any more."""
        offset = self.replaced.get(offset, offset)
        at = bisect_left(self.offsets, offset)
        if at < len(self.offsets) and self.offsets[at] == offset:
            return self.base + at
        return None


@dataclass(slots=True)
class Live:
    """One partition of a backup: its segments with what counts in them, and how much that is."""

    partition: int
    segments: list[Picked]
    places: Places
    records: list[int]
    size_bytes: int = 0
    damaged: list[str] = field(default_factory=list)

    @property
    def agents(self) -> int:
        """Agents in it, deleted ones among them; its own records of the index are not counted."""
        return self.records[INDEX]


def live(archive: Archive, partition: int, *, damaged: bool = False) -> Live:
    """What counts in a partition of a backup. Reads its segments, and of them only the keys.

    With ``damaged``, segments that cannot be read are passed over, and listed.
    """
    selection = Selection()
    found = Live(partition, selection.segments, Places(), [0, 0, 0])
    contents: list[Sequence[Item]] = []
    for name in archive.chain(partition):
        try:
            items = archive.read(name).items
        except CorruptData as error:
            if not damaged:
                raise
            found.damaged.append(f"{name.key}: {error}")
            continue
        selection.take(name, items)
        contents.append(items)
    _sum_up(found, contents)
    return found


def _sum_up(found: Live, contents: Sequence[Sequence[Item]]) -> None:
    latest: dict[bytes, int] = {}
    places = found.places
    for picked, items in zip(found.segments, contents, strict=True):
        for item, counts in zip(items, picked.counts, strict=True):
            if counts:
                found.records[item.topic] += not item.key.startswith(b"!")
                found.size_bytes += len(item.key) + item.size
                if item.topic == SNAPSHOTS:
                    places.offsets.append(item.offset)
                    latest[item.key] = item.offset
    for picked, items in zip(found.segments, contents, strict=True):
        for item, counts in zip(items, picked.counts, strict=True):
            if not counts and item.topic == SNAPSHOTS and item.key in latest:
                places.replaced[item.offset] = latest[item.key]


def values(
    archive: Archive, picked: Iterable[Picked], topics: Collection[int]
) -> Iterator[tuple[Item, bytes | None]]:
    """The records of some topics that count, with their values."""
    for each in picked:
        segment = archive.read(each.name)
        wanted = bytearray(
            c and i.topic in topics for c, i in zip(each.counts, segment.items, strict=True)
        )
        if any(wanted):
            yield from segment.values(wanted.__getitem__)
