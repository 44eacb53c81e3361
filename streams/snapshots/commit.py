"""One commit of one partition: snapshots, index entries and, last, the position, all or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from headwater.clock import wall_ms
from headwater.crash import crash_point
from headwater.log.checkpoints import checkpoint_key, encode_checkpoint
from headwater.log.sealing import Sealed, seal
from headwater.log.snapshots import (
    FULL,
    INCREMENTAL,
    POSITION_KEY,
    IndexEntry,
    Pointer,
    Snapshot,
    encode_entry,
    size_of,
)
from headwater.wire import codec

from .aggregate import encode_aggregate
from .cache import SnapshotCache
from .planner import Draft, Limits, Plan, Planner
from .policy import OFF, CheckpointPolicy
from .proof import ChainReader
from .store import Store, encode_position
from .strategy import Strategy
from .tracked import Batch, DeadLetter

_READ_AHEAD_BYTES = 16 << 20


@dataclass(slots=True, kw_only=True)
class Counts:
    """What was done, in records and bytes (keys and values, uncompressed); adds up."""

    events: int = 0
    commits: int = 0
    fulls: int = 0
    increments: int = 0
    merges: int = 0
    origins: int = 0
    checkpoints: int = 0
    index_entries: int = 0
    dead_letters: int = 0
    rebuilt: int = 0
    full_failures: int = 0
    longest_chain: int = 0
    snapshot_bytes: int = 0
    index_bytes: int = 0

    def add(self, other: Counts) -> None:
        """Add ``other`` in place; the longest chain is the longer one."""
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, max(mine, theirs) if name == "longest_chain" else mine + theirs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What all commits of a process share."""

    strategy: Strategy
    cache: SnapshotCache
    limits: Limits
    node_id: str
    policy: CheckpointPolicy = OFF


class Commit:
    """One batch on its way into the store. Any error leaves the store to be closed, and the
    partition to be taken over again: what was read from there is the truth.
    """

    def __init__(self, partition: int, store: Store, writing: Writing, batch: Batch) -> None:
        self._partition = partition
        self._store = store
        self._writing = writing
        self._batch = batch
        self._offsets: dict[str, int] = {}
        self._counts = Counts(events=batch.events, commits=1)

    def run(self) -> Counts:
        """Write and commit, and bring the agents' chains up to what was written."""
        began_s = time.monotonic()
        plans = self._plan()
        store = self._store
        store.begin()
        self._write_snapshots(plans)
        crash_point("compactor.snapshots_flushed")
        self._write_index(plans)
        self._write_checkpoints(plans)
        for letter in self._batch.dead_letters:
            self._write_dead_letter(letter)
        position = encode_position(self._partition, self._batch.position, self._writing.node_id)
        store.put_index(POSITION_KEY, position)
        store.put_commit(self._aggregate(time.monotonic() - began_s))
        crash_point("compactor.index_written")
        store.settle()
        crash_point("compactor.before_commit")
        store.commit()
        crash_point("compactor.after_commit")
        for plan in plans:
            self._adopt(plan)
        return self._counts

    def _plan(self) -> list[Plan]:
        writing = self._writing
        reader = ChainReader(self._partition, self._store, writing.cache)
        planner = Planner(
            self._batch,
            reader,
            writing.strategy,
            writing.limits,
            node_id=writing.node_id,
            now_ms=wall_ms(),
        )
        plans = []
        for drafts in _portions([planner.draft(dirty) for dirty in self._batch.agents]):
            reader.read_ahead(pointer for draft in drafts for pointer in draft.needs)
            plans += [planner.finish(draft) for draft in drafts]
        return plans

    def _write_snapshots(self, plans: list[Plan]) -> None:
        """Every snapshot, those that name the offsets of others after those others."""
        endings: list[tuple[Sealed, Plan, bool]] = []
        later: list[tuple[Sealed, Plan, bool]] = []
        for plan in plans:
            for number, snapshot in enumerate((*plan.ending, *plan.new)):
                ends = number < len(plan.ending)
                sealed = seal(snapshot)
                for key, value in sealed.chunks:
                    self._put(key, value)
                begins = snapshot.kind != INCREMENTAL
                if sealed.chunks or (begins and (plan.previous or plan.ending)):
                    (endings if ends else later).append((sealed, plan, ends))
                else:
                    self._put(snapshot.snapshot_id, sealed.value())
                self._count(snapshot)
            self._counts.merges += plan.merged > 0
            self._counts.rebuilt += plan.rebuilt
            self._counts.full_failures += plan.full_failed
        if any(plan.new for plan in plans):
            crash_point("compactor.before_snapshots_flush")
            self._store.settle()
        for group in (endings, later):
            for sealed, plan, ends in group:
                offsets = [self._offsets[key] for key, _ in sealed.chunks]
                previous = self._replaced(sealed.snapshot, plan, ends)
                self._put(sealed.snapshot.snapshot_id, sealed.value(offsets, previous))
            if group:
                self._store.settle()

    def _replaced(self, snapshot: Snapshot, plan: Plan, ends: bool) -> tuple[Pointer, ...]:
        """The chain that a new one replaces, as it was ended; none for what begins no chain."""
        if snapshot.kind == INCREMENTAL:
            return ()
        if ends:
            return plan.previous
        ending = tuple(map(self._pointer, plan.ending))
        whole = bool(ending) and plan.ending[0].kind != INCREMENTAL
        return ending if whole else (*plan.previous, *ending)

    def _put(self, key: str, value: bytes) -> None:
        self._store.put_snapshot(key, value, partial(self._offsets.__setitem__, key))
        self._counts.snapshot_bytes += len(key) + len(value)

    def _count(self, snapshot: Snapshot) -> None:
        counts = self._counts
        if snapshot.kind == FULL:
            counts.fulls += 1
        elif snapshot.kind == INCREMENTAL:
            counts.increments += 1
        else:
            counts.origins += 1

    def _write_index(self, plans: list[Plan]) -> None:
        store, counts = self._store, self._counts
        for plan in plans:
            entry = IndexEntry(plan.dirty.head, plan.hash, self._pointers(plan), *plan.dirty.marked)
            value = encode_entry(entry)
            store.put_index(plan.dirty.key, value)
            counts.index_bytes += len(plan.dirty.key) + len(value)
            counts.longest_chain = max(counts.longest_chain, len(entry.snapshots))
        counts.index_entries += len(plans)

    def _write_checkpoints(self, plans: list[Plan]) -> None:
        for plan in plans:
            for mark in plan.dirty.marks:
                key = checkpoint_key(mark.agent_id, mark.checkpoint_id)
                self._store.put_checkpoint(key, encode_checkpoint(mark))
                self._counts.checkpoints += not mark.deleted

    def _pointers(self, plan: Plan) -> tuple[Pointer, ...]:
        return (*plan.kept, *(self._pointer(snapshot) for snapshot in plan.new))

    def _pointer(self, snapshot: Snapshot) -> Pointer:
        offset = self._offsets[snapshot.snapshot_id]
        return Pointer(offset, snapshot.from_version, snapshot.to_version, size_of(snapshot))

    def _write_dead_letter(self, letter: DeadLetter) -> None:
        headers = [{"name": name, "value": value} for name, value in letter.headers]
        record = {
            "topic": self._store.events_topic,
            "partition": self._partition,
            "offset": letter.offset,
            "reason": letter.reason,
            "key": letter.key,
            "value": letter.value,
            "headers": headers,
            "found_at": wall_ms(),
        }
        self._store.put_dead_letter(codec("DeadLetter").encode(record))
        self._counts.dead_letters += 1

    def _aggregate(self, seconds: float) -> bytes:
        counts = self._counts
        return encode_aggregate(
            self._partition,
            self._batch,
            written_bytes=counts.snapshot_bytes + counts.index_bytes,
            took_ms=seconds * 1000,
            committed_at=wall_ms(),
            node_id=self._writing.node_id,
        )

    def _adopt(self, plan: Plan) -> None:
        cache, chain = self._writing.cache, plan.dirty.chain
        for snapshot in plan.new:
            cache.put(self._partition, self._offsets[snapshot.snapshot_id], snapshot)
        for pointer in plan.dropped:
            cache.forget(self._partition, pointer.offset)
        version, reached = plan.version, plan.hash
        chain.pointers = self._pointers(plan)
        chain.base = plan.base
        chain.version, chain.hash = version, reached


def _portions(drafts: Iterable[Draft]) -> Iterator[list[Draft]]:
    """Drafts in portions whose snapshots are few enough to be held in memory together."""
    portion: list[Draft] = []
    size = 0
    for draft in drafts:
        portion.append(draft)
        size += sum(pointer.size for pointer in draft.needs)
        if size > _READ_AHEAD_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
