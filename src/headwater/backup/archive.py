"""A backup on a storage tier: what is there, and what is added to it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

from headwater.backup.format import INDEX, Kept, Segment, encode_segment, open_segment
from headwater.backup.names import (
    MANIFEST_KEY,
    START,
    Manifest,
    Offsets,
    SegmentName,
    chain,
    decode_manifest,
    encode_manifest,
    folder,
    parse_name,
)
from headwater.errors import CorruptData, KeyNotFound, PointNotFound, Unavailable
from headwater.log.snapshots import POSITION_KEY
from headwater.tiers import Tier
from headwater.wire import codec


class Archive:
    """One backup. Safe for use by several threads, as its tier is.

    The last ``cache_bytes`` of segments that were read are kept, for whoever reads them twice.
    """

    def __init__(self, tier: Tier, cache_bytes: int = 0) -> None:
        self.tier = tier
        self._cache_bytes = cache_bytes
        self._cached: dict[str, Segment] = {}
        self._lock = threading.Lock()

    def manifest(self) -> Manifest:
        """Of what this is a backup. Raises :class:`PointNotFound` where there is none."""
        try:
            return decode_manifest(self.tier.load(MANIFEST_KEY))
        except KeyNotFound as error:
            raise PointNotFound(f"there is no backup: {error}") from error

    def begin(self, manifest: Manifest) -> Manifest:
        """The manifest; ``manifest`` where there is no backup yet."""
        try:
            return self.manifest()
        except PointNotFound:
            self.tier.save(MANIFEST_KEY, encode_manifest(manifest))
            return manifest

    def all(self, partition: int) -> list[SegmentName]:
        """Every segment of a partition, whether it counts or not."""
        found = (parse_name(e.key, e.size_bytes) for e in self.tier.list(folder(partition)))
        return [name for name in found if name is not None]

    def chain(self, partition: int) -> list[SegmentName]:
        """The segments that count, oldest first."""
        return chain(self.all(partition))

    def reach(self, partition: int) -> Offsets:
        """How far the backup of a partition has come."""
        return end_of(self.chain(partition))

    def write(
        self,
        partition: int,
        first: Offsets,
        after: Offsets,
        records: Sequence[Kept],
        generation: int = 0,
    ) -> SegmentName:
        """Save a segment: wholly, or not at all."""
        data = encode_segment(partition, first, after, records)
        name = SegmentName(partition, first, after, generation, len(data))
        self.tier.save(name.key, data)
        return name

    def read(self, name: SegmentName) -> Segment:
        """A segment. Raises :class:`CorruptData`, and :class:`Unavailable` where it was merged
        with others since it was listed.
        """
        with self._lock:
            cached = self._cached.get(name.key)
        if cached is not None:
            return cached
        segment = self._load(name)
        with self._lock:
            self._cached[name.key] = segment
            while sum(s.size_bytes for s in self._cached.values()) > self._cache_bytes:
                del self._cached[next(iter(self._cached))]
        return segment

    def _load(self, name: SegmentName) -> Segment:
        try:
            segment = open_segment(self.tier.load(name.key))
        except KeyNotFound as error:
            raise Unavailable(f"the backup has changed meanwhile; try again: {error}") from error
        if (segment.partition, segment.first, segment.after) != name[:3]:
            raise CorruptData(f"{name.key} is another segment than its name says", "name")
        return segment

    def delete(self, names: Iterable[SegmentName]) -> None:
        """Remove segments."""
        for name in names:
            self.tier.delete(name.key)

    def position(self, partition: int) -> int:
        """The compactor's position in events as the backup has it: what is below is in it."""
        for name in reversed(self.chain(partition)):
            for value in _positions(self.read(name)):
                return int(codec("Position").decode(value)["next_offset"])
        return 0


def _positions(segment: Segment) -> Iterator[bytes]:
    items = segment.items
    last = max(
        (n for n, i in enumerate(items) if i.topic == INDEX and i.key == POSITION_KEY), default=-1
    )
    return (value for _, value in segment.values(lambda n: n == last) if value is not None)


def end_of(names: Sequence[SegmentName]) -> Offsets:
    """Where a chain of segments ends."""
    return names[-1].after if names else START
