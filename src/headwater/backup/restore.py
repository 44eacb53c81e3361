"""Fills an empty cluster from a backup.

Two passes. The first reads what is in the backup and gives every record that counts its new
offset, which is possible since one producer writes each partition from its end on without
transactions. The second writes: snapshots, with the pointers in them moved, then checkpoints, then
the index, then the compactor's positions. So nothing is ever named that is not there; a restore
that is killed has no agents or some, and is simply run again: what it left behind is replaced, for
it has the same keys.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import msgspec

from headwater.backup.archive import Archive
from headwater.backup.format import CHECKPOINTS, INDEX, SNAPSHOTS, TOPICS, Item
from headwater.backup.live import Live, live, values
from headwater.backup.relocate import Lost, Relocation, pointed_to
from headwater.backup.target import RESTORE_KEY, Line, Target
from headwater.clock import wall_ms
from headwater.config import Config
from headwater.crash import crash_point
from headwater.log.checkpoints import is_state_key
from headwater.log.sealing import is_chunk_key
from headwater.log.snapshots import POSITION_KEY, PROOF_ERRORS
from headwater.recovery.ahead import ahead
from headwater.topics import connect_topics

Advance = Callable[[str], None]
_AHEAD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a backup holds that counts. ``size_bytes`` is keys and values, uncompressed;
    ``damaged`` are segments that could not be read.
    """

    partitions: int
    segments: int
    agents: int
    snapshots: int
    checkpoints: int
    size_bytes: int
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored(Contents):
    """What a restore wrote. ``lost`` are agents whose snapshots the backup does not hold."""

    records: int
    seconds: float
    lost: tuple[str, ...] = ()


@dataclass(slots=True)
class Plan:
    """What is to be written, partition by partition."""

    partitions: list[Live] = field(default_factory=list)

    def contents(self) -> Contents:
        """In all."""
        return Contents(**self.figures())

    def figures(self) -> dict[str, Any]:
        """The fields of :class:`Contents`."""
        parts = self.partitions
        return {
            "partitions": len(parts),
            "segments": sum(len(p.segments) for p in parts),
            "agents": sum(p.records[INDEX] for p in parts),
            "snapshots": sum(p.records[SNAPSHOTS] for p in parts),
            "checkpoints": sum(p.records[CHECKPOINTS] for p in parts),
            "size_bytes": sum(p.size_bytes for p in parts),
            "damaged": tuple(each for p in parts for each in p.damaged),
        }

    def place(self, partition: int, offset: int) -> int | None:
        """The new offset of a record of snapshots."""
        if not 0 <= partition < len(self.partitions):
            return None
        return self.partitions[partition].places.find(offset)


def plan_restore(
    archive: Archive, *, partial: bool = False, advance: Advance = lambda text: None
) -> Plan:
    """What a restore would write. Reads the whole backup.

    Raises :class:`CorruptData` for a segment that cannot be read, unless ``partial``.
    """
    plan = Plan()
    partitions = archive.manifest().partitions
    for partition in range(partitions):
        advance(f"reading partition {partition} of {partitions}")
        part = live(archive, partition, damaged=partial)
        if not partial:
            _check(archive, part)
        plan.partitions.append(part)
    return plan


def _check(archive: Archive, part: Live) -> None:
    """Every snapshot that the index names must be there: before anything is written."""
    for item, value in values(archive, part.segments, (INDEX,)):
        if item.key.startswith(b"!") or value is None:
            continue
        newest = pointed_to(value)
        if newest >= 0 and part.places.find(newest) is None:
            raise Lost(
                f"agent {item.key.decode()!r}: the backup holds no snapshot of offset {newest}",
                "pointer",
            )


def restore(
    archive: Archive,
    config: Config,
    plan: Plan,
    *,
    partial: bool = False,
    advance: Advance = lambda text: None,
) -> Restored:
    """Fill the cluster of ``config``, making its topics, with what ``plan`` found in ``archive``.

    With ``partial``, agents whose snapshots are not all in the backup are left out, and listed.
    Raises :class:`NotEmpty` for a cluster that holds agents or events, :class:`TopicMismatch`
    where its agents are spread over another number of partitions, :class:`Conflict` if somebody
    else writes there meanwhile, and :class:`~.relocate.Lost`.
    """
    started = time.perf_counter()
    partitions = connect_topics(config.with_(partitions=len(plan.partitions), create_topics=True))
    target = Target(config, partitions)
    try:
        target.check_empty()
        writing = _Writing(archive, target, plan, partial, advance)
        records, lost = writing.run()
    finally:
        target.close()
    seconds = time.perf_counter() - started
    return Restored(**plan.figures(), records=records, seconds=seconds, lost=tuple(lost))


class _Writing:
    """One run of the second pass."""

    def __init__(
        self, archive: Archive, target: Target, plan: Plan, partial: bool, advance: Advance
    ) -> None:
        self._archive = archive
        self._target = target
        self._plan = plan
        self._partial = partial
        self._advance = advance
        self._records = 0
        self._lost: list[str] = []
        self._relocations: list[Relocation] = []
        self._lines: dict[int, list[Line]] = {}
        self._positions: dict[int, bytes] = {}

    def run(self) -> tuple[int, list[str]]:
        """How many records were written, and which agents were lost."""
        target = self._target
        target.mark(msgspec.msgpack.encode({"at": wall_ms()}))
        crash_point("restore.begun")
        lines = self._prepare()
        self._write((SNAPSHOTS,), {SNAPSHOTS: lines})
        crash_point("restore.snapshots_written")
        for topic in (CHECKPOINTS, INDEX):
            self._lines[topic] = target.lines(TOPICS[topic])
        self._write((CHECKPOINTS, INDEX), self._lines)
        crash_point("restore.index_written")
        self._write_positions()
        crash_point("restore.before_end")
        target.mark(None)
        return self._records, self._lost

    def _prepare(self) -> list[Line]:
        """Empty events, and the offsets of all that will be written to snapshots."""
        starts, lines = self._target.empty_events(), self._target.lines("snapshots")
        for part, start, line in zip(self._plan.partitions, starts, lines, strict=True):
            hole = line.end
            self._target.put(line, RESTORE_KEY, None, None)
            part.places.base = line.end
            self._relocations.append(Relocation(part.places.find, self._plan.place, start, hole))
        self._target.settle()
        return lines

    def _write_positions(self) -> None:
        """Of every partition: without one, a reader would begin before the new beginning."""
        now = wall_ms()
        for line in self._lines[INDEX]:
            before = self._positions.get(line.partition)
            value = self._relocations[line.partition].position(line.partition, before, now)
            self._target.put(line, POSITION_KEY, value, None)
            self._records += 1
        self._target.settle()

    def _write(self, topics: Collection[int], lines: dict[int, list[Line]]) -> None:
        put = {SNAPSHOTS: self._snapshot, CHECKPOINTS: self._checkpoint, INDEX: self._entry}
        for partition, found in ahead(self._read(topics), _AHEAD):
            for item, value in found:
                put[item.topic](lines[item.topic][partition], item, value)
            self._advance(f"{self._records:,} records written")
        self._target.settle()

    def _read(self, topics: Collection[int]) -> Iterator[tuple[int, list[tuple[Item, bytes]]]]:
        """Records of all partitions: a segment of each in turn, so that all brokers have work."""
        for turn in zip_longest(*(p.segments for p in self._plan.partitions)):
            for part, picked in zip(self._plan.partitions, turn, strict=True):
                if picked is not None:
                    found = values(self._archive, [picked], topics)
                    yield part.partition, [(item, v) for item, v in found if v is not None]

    def _put(self, line: Line, item: Item, value: bytes) -> None:
        self._target.put(line, item.key, value, item.timestamp)
        self._records += 1

    def _snapshot(self, line: Line, item: Item, value: bytes) -> None:
        if not is_chunk_key(item.key):
            # What nobody can read stays what it is: it keeps its place, and proves nothing.
            with suppress(*PROOF_ERRORS):
                value = self._relocations[line.partition].snapshot(value)
        self._put(line, item, value)

    def _checkpoint(self, line: Line, item: Item, value: bytes) -> None:
        moved: bytes | None = value
        if is_state_key(item.key):
            moved = None
            with suppress(*PROOF_ERRORS):
                moved = self._relocations[line.partition].state(value)
        if moved is not None:
            self._put(line, item, moved)

    def _entry(self, line: Line, item: Item, value: bytes) -> None:
        relocation = self._relocations[line.partition]
        if item.key == POSITION_KEY:
            self._positions[line.partition] = value
            return
        try:
            moved = relocation.entry(value)
        except PROOF_ERRORS:
            if not self._partial:
                raise
            self._lost.append(item.key.decode(errors="replace"))
        else:
            self._put(line, item, moved)
