"""Segments become fewer: a run of them is merged into one that holds only what counts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from headwater.backup.archive import Archive
from headwater.backup.builder import Builder
from headwater.backup.format import CHECKPOINTS, INDEX, SNAPSHOTS, TOPICS
from headwater.backup.live import Selection, values
from headwater.backup.names import START, SegmentName
from headwater.crash import crash_point

MOST_SEGMENTS = 32
_SMALL = 4
_LEAST = 4
_GROWTH = 2


def worth_merging(
    names: Sequence[SegmentName], segment_bytes: int, most: int = MOST_SEGMENTS
) -> Sequence[SegmentName]:
    """The segments of a chain that should become one, or as few as hold them; none if all is well.

    All of them, once there is twice as much as the last merge of all left: so at most about half of
    a large backup no longer counts, and each record is copied about twice. Otherwise the newest
    ones, where more than ``most`` small ones are in a row.
    """
    total = sum(name.size_bytes for name in names)
    if total > max(_GROWTH * _merged_bytes(names), _LEAST * segment_bytes):
        return names
    first = len(names)
    while first > 0 and names[first - 1].size_bytes < segment_bytes // _SMALL:
        first -= 1
    return names[first:] if len(names) - first > most else ()


def _merged_bytes(names: Sequence[SegmentName]) -> int:
    """How much the last merge of all left; its segments have an even generation."""
    generation = names[0].generation if names else 0
    if not generation or generation % 2:
        return 0
    merged = takewhile(lambda name: name.generation == generation, names)
    return sum(name.size_bytes for name in merged)


def merge(
    archive: Archive, names: Sequence[SegmentName], segment_bytes: int, *, whole: bool
) -> list[SegmentName]:
    """Merge a run of segments, the ``whole`` chain or its end; what was written.

    The merged ones are there before any other goes. Killed in between, both are, and hold the
    same; what is too much goes with :func:`clean`.
    """
    first, after = names[0].first, names[-1].after
    # A tombstone counts as long as something older may be under its key.
    selection = Selection(tombstones=first != START)
    for name in names:
        selection.take(name, archive.read(name).items)
    partition = names[0].partition
    generation = max(name.generation for name in names) + 1
    generation += (generation % 2 == 1) == whole  # even for all of them, odd for some
    builder = Builder(archive, partition, first, segment_bytes, generation)
    for topic in (SNAPSHOTS, CHECKPOINTS, INDEX):
        for item, value in values(archive, selection.segments, (topic,)):
            builder.add(item, value)
        builder.reached(topic, after[topic])
    builder.finish()
    crash_point("backup.merged")
    archive.delete(names)
    crash_point("backup.merged_deleted")
    return builder.written


def clean(archive: Archive, partition: int) -> int:
    """Remove the segments that do not count, and count them: all that is in them is in others."""
    there = archive.all(partition)
    counting = archive.chain(partition)
    end = counting[-1].after if counting else START
    gone = [
        name
        for name in set(there) - set(counting)
        if all(name.after[t] <= end[t] for t in range(len(TOPICS)))
    ]
    archive.delete(gone)
    return len(gone)
