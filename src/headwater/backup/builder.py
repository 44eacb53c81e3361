"""Writes records as segments, each as large as it may be."""

from __future__ import annotations

from headwater.backup.archive import Archive
from headwater.backup.format import Item, Kept
from headwater.backup.names import Offsets, SegmentName
from headwater.crash import crash_point

SEGMENT_BYTES = 16 << 20


class Builder:
    """Takes the records of one topic after the other, in the order of their offsets.

    A segment that is full is saved at once; it ends where its last record ended.
    """

    def __init__(
        self,
        archive: Archive,
        partition: int,
        first: Offsets,
        segment_bytes: int = SEGMENT_BYTES,
        generation: int = 0,
    ) -> None:
        self.written: list[SegmentName] = []
        self.records = 0
        self.reach = first
        self._archive = archive
        self._partition = partition
        self._segment_bytes = segment_bytes
        self._generation = generation
        self._first = first
        self._pending: list[Kept] = []
        self._size = 0

    def add(self, item: Item | Kept, value: bytes | None) -> None:
        """One more record."""
        kept = Kept(item.topic, item.offset, item.timestamp, item.key, value)
        self._pending.append(kept)
        self._size += kept.weight
        if self._size >= self._segment_bytes:
            self.reached(item.topic, item.offset + 1)
            self._save()

    def reached(self, topic: int, offset: int) -> None:
        """Everything of a topic below ``offset`` was added."""
        offsets = list(self.reach)
        offsets[topic] = max(offsets[topic], offset)
        self.reach = Offsets(*offsets)

    def finish(self, *, empty: bool = True) -> None:
        """Save what is left; with ``empty``, that no record was left, too."""
        if self._pending or (empty and self.reach != self._first):
            self._save()

    def _save(self) -> None:
        crash_point("backup.before_save")
        self.written.append(
            self._archive.write(
                self._partition, self._first, self.reach, self._pending, self._generation
            )
        )
        crash_point("backup.after_save")
        self.records += len(self._pending)
        self._first, self._pending, self._size = self.reach, [], 0
