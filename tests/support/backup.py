"""A backup without Kafka: a compactor's rig, a tier in memory, and a copier that can be killed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from consumers.backup.copier import Copier
from consumers.backup.pin import Pins
from consumers.backup.source import Source
from consumers.retention.model import BackupPin
from headwater import Config
from headwater.backup.archive import Archive
from headwater.backup.format import INDEX, SNAPSHOTS, Kept
from headwater.backup.live import Live, live, values
from headwater.backup.relocate import Relocation
from headwater.log.sealing import is_chunk_key
from headwater.tiers import Tier, open_tier
from tests.support.rig import Rig

HOLE = 4
BASE = 5
EVENTS_START = 1


class Killed(Exception):
    """The copier's process ended here."""


class MemorySource(Source):
    """What a rig's compactor has committed, as topics that are read."""

    def __init__(self, rig: Rig) -> None:
        self.config = Config(bootstrap_servers="nowhere:9092")
        self.partitions = 1
        self._rig = rig
        self._index: list[tuple[bytes, bytes]] = []
        self._known: dict[bytes, bytes] = {}

    def follow(self) -> None:
        """Take in what the index has got since."""
        now = dict(self._rig.store.index)
        self._index += [(k, v) for k, v in now.items() if self._known.get(k) != v]
        self._known = now

    def end(self, topic: int, partition: int) -> int:
        """The end of a topic."""
        if topic == SNAPSHOTS:
            return max(self._rig.store.snapshots, default=-1) + 1
        return len(self._index) if topic == INDEX else len(self._rig.store.checkpoints)

    def read(self, topic: int, partition: int, start: int, until: int) -> Iterator[Kept]:
        """Its records."""
        found: list[tuple[int, bytes, bytes]]
        if topic == SNAPSHOTS:
            found = [(o, k.encode(), v) for o, (k, v) in sorted(self._rig.store.snapshots.items())]
        else:
            log = self._index if topic == INDEX else list(self._rig.store.checkpoints.items())
            found = [(o, k, v) for o, (k, v) in enumerate(log)]
        for offset, key, value in found:
            if start <= offset < until:
                yield Kept(topic, offset, 1, key, value)

    def fetch(self, partition: int, offset: int) -> bytes | None:
        """A snapshot."""
        return self._rig.store.fetch(partition, offset)


class _Pins:
    def __init__(self) -> None:
        self.written: list[BackupPin | None] = []

    def write(self, partition: int, pin: BackupPin | None) -> None:
        self.written.append(pin)


class Bench:
    """A rig that is backed up."""

    def __init__(self, rig: Rig, *, segment_bytes: int = 2000, most_segments: int = 3) -> None:
        self.rig = rig
        self.source = MemorySource(rig)
        self.tier = open_tier("memory:")
        self.archive = Archive(self.tier)
        self.pins = _Pins()
        self._sizes = segment_bytes, most_segments
        self._copier = self._started()

    def _started(self) -> Copier:
        return Copier(
            0,
            self.source,
            self.archive,
            cast("Pins", self.pins),
            segment_bytes=self._sizes[0],
            most_segments=self._sizes[1],
        )

    def copy(self, calls: int | None = None) -> None:
        """One pass; killed at its ``calls``-th save or delete, and started anew."""
        self.source.follow()
        self.archive.tier = cast("Tier", _Mortal(self.tier, calls))
        try:
            self._copier.copy(self.source.end(INDEX, 0))
            self._copier.tidy()
        except Killed:
            self._copier = self._started()
        self.archive.tier = self.tier

    def rebuilt(self) -> tuple[Live, dict[int, bytes], dict[bytes, bytes]]:
        """What a restore would write: snapshots by their new offsets, and the index."""
        part = live(self.archive, 0)
        part.places.base = BASE
        relocation = self.relocation(part)
        snapshots = {}
        for number, (item, value) in enumerate(values(self.archive, part.segments, (SNAPSHOTS,))):
            assert value is not None
            assert part.places.find(item.offset) == BASE + number
            whole = value if is_chunk_key(item.key) else relocation.snapshot(value)
            snapshots[BASE + number] = whole
        index = {
            item.key: relocation.entry(value)
            for item, value in values(self.archive, part.segments, (INDEX,))
            if value is not None and not item.key.startswith(b"!")
        }
        return part, snapshots, index

    @staticmethod
    def relocation(part: Live) -> Relocation:
        """New offsets for a partition."""
        places = part.places
        return Relocation(places.find, lambda _, offset: places.find(offset), EVENTS_START, HOLE)


class _Mortal:
    """A tier whose user is killed in the middle."""

    def __init__(self, tier: Tier, calls: int | None) -> None:
        self._tier = tier
        self._left = calls

    def _count(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise Killed

    def save(self, key: str, value: bytes) -> None:
        self._count()
        self._tier.save(key, value)

    def delete(self, key: str) -> None:
        self._count()
        self._tier.delete(key)

    def __getattr__(self, name: str) -> object:
        return getattr(self._tier, name)
