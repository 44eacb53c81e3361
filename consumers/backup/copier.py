"""Copies one partition, stretch by stretch.

The consistency rule: an index entry is saved no earlier than the snapshots that it names. So the
end of the index is asked for first, then those of checkpoints and snapshots; snapshots are saved
first, then checkpoints, and the index last. A transaction becomes visible in one partition a
little before it does in another, so the entries themselves are asked what they name, and
snapshots are waited for that are not visible yet. Segments follow each other from where the last
one on the tier ends, so whatever is killed where ever, nothing is left out and nothing comes twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from headwater.backup.archive import Archive, end_of
from headwater.backup.builder import SEGMENT_BYTES, Builder
from headwater.backup.format import CHECKPOINTS, INDEX, SNAPSHOTS, Kept
from headwater.backup.merge import MOST_SEGMENTS, clean, merge, worth_merging
from headwater.backup.names import Offsets
from headwater.backup.relocate import pointed_to
from headwater.crash import crash_point
from headwater.errors import ConfigError, Unavailable, UndecodableRecord
from headwater.log.checkpoints import decode_state, is_state_key
from headwater.log.snapshots import POSITION_KEY
from headwater.wire import codec

from ..retention.model import BackupPin
from .pin import Pins
from .replica import Replica
from .source import Source

_LOOK_S = 0.02


@dataclass(slots=True)
class Copies:
    """What was copied: records, their bytes and the segments' bytes; and how many merges."""

    records: int = 0
    segments: int = 0
    stored_bytes: int = 0
    merges: int = 0
    replicas: int = 0

    def add(self, other: Copies) -> None:
        """Count ``other``, too."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Copier:
    """One partition of a backup, as far as it has come."""

    def __init__(
        self,
        partition: int,
        source: Source,
        archive: Archive,
        pins: Pins,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        most_segments: int = MOST_SEGMENTS,
        replica: Replica | None = None,
    ) -> None:
        self.partition = partition
        self.copies = Copies()
        self.complete_at = 0.0
        """When everything that was there was in the backup (``time.monotonic()``); 0 before."""
        self._source = source
        self._archive = archive
        self._pins = pins
        self._segment_bytes = segment_bytes
        self._most_segments = most_segments
        self._replica = replica
        self._reach: Offsets | None = None
        self._seen = Offsets()
        self._position = 0

    @property
    def seen(self) -> Offsets | None:
        """Up to where everything is in the backup; None while that is not known."""
        return None if self._reach is None else self._seen

    def start(self) -> None:
        """Find out where to go on, and say so before anything is copied."""
        clean(self._archive, self.partition)
        reach = self._archive.reach(self.partition)
        ends = self._source.ends(self.partition)
        if any(here > there for here, there in zip(reach, ends, strict=True)):
            raise ConfigError(
                f"partition {self.partition} of this backup goes further than the cluster does: it "
                "is one of other topics, which these replaced; choose another place for the backup"
            )
        self._position = self._archive.position(self.partition)
        self._reach = self._seen = reach
        self._pin()

    def copy(self, index_end: int) -> None:
        """Copy what is new; of the index, what is below ``index_end``."""
        if self._reach is None:
            self.start()
        assert self._reach is not None
        asked_at = time.monotonic()
        source, seen, p = self._source, self._seen, self.partition
        entries = source.newest(INDEX, p, seen.indexed, index_end)
        marks_end = source.end(CHECKPOINTS, p)
        marks = source.newest(CHECKPOINTS, p, seen.checkpoints, marks_end)
        snapshots_end = self._await_snapshots(entries, marks)
        builder = Builder(self._archive, p, self._reach, self._segment_bytes)
        for kept in source.read(SNAPSHOTS, p, seen.snapshots, snapshots_end):
            builder.add(kept, kept.value)
            if self._replica is not None:
                self._replica.take(p, kept)
        if self._replica is not None:
            self.copies.replicas += self._replica.save()
        self._finish(builder, entries, marks, Offsets(index_end, snapshots_end, marks_end))
        self.complete_at = asked_at

    def _finish(
        self,
        builder: Builder,
        entries: dict[bytes, Kept],
        marks: dict[bytes, Kept],
        ends: Offsets,
    ) -> None:
        builder.reached(SNAPSHOTS, ends.snapshots)
        for topic, kept_of in ((CHECKPOINTS, marks), (INDEX, entries)):
            for kept in kept_of.values():
                builder.add(kept, kept.value)
            builder.reached(topic, ends[topic])
        # What holds nothing that counts is looked at again after a restart, and that is all.
        builder.finish(empty=False)
        self._seen = Offsets(*map(max, self._seen, ends))
        if builder.written:
            self._reach = end_of(builder.written)
            self.copies.records += builder.records
            self.copies.segments += len(builder.written)
            self.copies.stored_bytes += sum(name.size_bytes for name in builder.written)
            position = entries.get(POSITION_KEY)
            if position is not None and position.value is not None:
                found = codec("Position").decode(position.value)
                self._position = int(found["next_offset"])
            self._pin()

    def tidy(self) -> None:
        """Merge segments where there are too many."""
        chain = self._archive.chain(self.partition)
        names = worth_merging(chain, self._segment_bytes, self._most_segments)
        if names:
            whole = len(names) == len(chain)
            merge(self._archive, names, self._segment_bytes, whole=whole)
            self.copies.merges += 1

    def _await_snapshots(self, entries: dict[bytes, Kept], marks: dict[bytes, Kept]) -> int:
        """The end of snapshots, once all that entries and marks name is below it."""
        found = (*entries.values(), *marks.values())
        needed = max(map(_named, found), default=-1) + 1
        deadline = time.monotonic() + self._source.config.read_timeout.total_seconds()
        while (end := self._source.end(SNAPSHOTS, self.partition)) < needed:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"snapshots[{self.partition}] ends at {end}, and the index names what is at "
                    f"{needed - 1}; trying again"
                )
            time.sleep(_LOOK_S)
        return end

    def _pin(self) -> None:
        assert self._reach is not None
        crash_point("backup.before_pin")
        reach = self._reach
        self._pins.write(
            self.partition,
            BackupPin(
                events=self._position, snapshots=reach.snapshots, checkpoints=reach.checkpoints
            ),
        )
        crash_point("backup.after_pin")


def _named(kept: Kept) -> int:
    """The highest offset of snapshots that a record of index or checkpoints names; -1 for none."""
    if kept.value is None or kept.key.startswith(b"!"):
        return -1
    try:
        if kept.topic == INDEX:
            return pointed_to(kept.value)
        return decode_state(kept.value).offset if is_state_key(kept.key) else -1
    except UndecodableRecord:
        return -1  # copied as it is: nobody can read it there, either
