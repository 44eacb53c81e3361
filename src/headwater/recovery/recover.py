"""Recovers agents: index entry, full snapshot, increments, tail; never a state without proof."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import Message

from headwater.clock import wall_ms
from headwater.config import Config
from headwater.errors import (
    AgentNotFound,
    InvalidState,
    UndecodableRecord,
    Unprovable,
)
from headwater.kafka import clients
from headwater.kafka.reader import ReaderPool
from headwater.log.chain import partition_of
from headwater.log.fold import Admission, Agent, fold, new_agent
from headwater.log.origin import read_origin
from headwater.log.records import parse
from headwater.log.resolve import resolver
from headwater.log.sealing import decode_snapshot
from headwater.log.snapshots import (
    PROOF_ERRORS,
    IndexEntry,
    Snapshot,
    check_pointer,
    check_time,
    prove_chain,
)
from headwater.recovery.index import IndexFollower, IndexPartition, read_index
from headwater.recovery.layers import Attempt, Source
from headwater.recovery.model import Recovered
from headwater.recovery.remember import Remembered
from headwater.recovery.search import Rebuild, find_proof
from headwater.state.model import Document, new_document

log = logging.getLogger("headwater.recovery")

T = TypeVar("T")


@dataclass(slots=True)
class Reads:
    """What one recovery has read so far."""

    started: float = field(default_factory=time.perf_counter)
    records: int = 0
    size_bytes: int = 0
    snapshots: int = 0
    tail_records: int = 0
    warnings: list[str] = field(default_factory=list)
    tried: list[Attempt] = field(default_factory=list)

    def count(self, message: Message) -> bytes:
        """Count a record and return its value."""
        value = message.value() or b""
        self.records += 1
        self.size_bytes += len(value)
        return value


@dataclass(frozen=True, slots=True)
class Tail:
    """What has come of an agent since: its records, and the offset after all that was read; None
    and how far to read (None: to the end) where the log does not hold them any more.
    """

    recovered: Recovered
    messages: list[Message] | None
    end: int | None


class Recovery:
    """Reads agents back from one cluster. Safe for use by several threads at once.

    ``sources`` are asked, in their order, where the cluster itself proves no state; ``rebuild``
    derives a state from what it depends on, where that was declared.
    """

    def __init__(self, config: Config, partitions: int, follow_index: bool = False) -> None:
        # It is about snapshots, as this is, and knows the layers.
        from headwater.backup.source import sources_of

        self.config = config
        self.partitions = partitions
        self.sources: list[Source] = list(sources_of(config))
        self.rebuild: Rebuild = _nothing_declared
        self.points = ReaderPool(config, clients.POINT_READS)
        self.near = ReaderPool(config, clients.NEAR_READS)
        self.scans = ReaderPool(config, clients.SCANS_TO_THE_END)
        size_bytes = config.snapshot_cache_bytes
        self.remembered = Remembered(size_bytes) if size_bytes else None
        self.resolve = resolver(self.fetch)
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="headwater-recovery")
        self._follower = IndexFollower(config, partitions) if follow_index else None

    def close(self) -> None:
        """Stop following the index and close every reader."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._follower is not None:
            self._follower.close()
        self.points.close()
        self.near.close()
        self.scans.close()
        for source in self.sources:
            source.close()

    def doubt_leaders(self) -> None:
        """Partitions may have new leaders: ask before reading from those that are known."""
        for pool in (self.points, self.near, self.scans):
            pool.doubt_leaders()

    def submit(self, work: Callable[..., T], *args: Any) -> Future[T]:
        """Have something that reads done on another thread; it must wait for no other."""
        return self._threads.submit(work, *args)

    def fetch_many(self, partition: int, offsets: Iterable[int]) -> dict[int, bytes]:
        """The values at places of snapshots; those left out where there is none."""
        with self.near.lend() as reader:
            return reader.get_many(self.config.topic("snapshots"), partition, offsets)

    def fetch(self, partition: int, offset: int) -> bytes | None:
        """The value at a place of snapshots; None where there is none."""
        with self.points.lend() as reader:
            message = reader.get(self.config.topic("snapshots"), partition, offset)
        return None if message is None else message.value()

    def recover(self, agent_id: str, *, until: int | None = None) -> Recovered:
        """The agent as of the end of its events partition, or of the record before offset
        ``until``, which is waited for.

        Raises :class:`AgentNotFound`, and :class:`Unprovable` where the log proves no state.
        """
        recovered = self.look(agent_id, until=until)
        if not recovered.head.exists:
            was = "was deleted" if recovered.head.deleted else "is not in the log"
            raise AgentNotFound(f"agent {agent_id!r} {was}")
        return recovered

    def look(self, agent_id: str, *, until: int | None = None) -> Recovered:
        """Like :meth:`recover`, but an agent that the log does not know, or that was deleted,
        is returned as such: with the head from which its next life goes on.
        """
        reads = Reads()
        key, partition = agent_id.encode(), self.partition_of(agent_id)
        entry, start = self.lookup(partition, key)
        tail = self._threads.submit(self._tail, reads, key, partition, start, until)
        try:
            agent = self._from_snapshots(reads, partition, agent_id, entry)
        except PROOF_ERRORS as error:
            # The index may have moved on since it was read; a newer entry points elsewhere.
            entry, newer = self._reread(partition, key)
            reads.warnings.append(str(error))
            tail.result()
            tail = self._threads.submit(self._tail, reads, key, partition, newer, until)
            try:
                agent = self._next_proof(reads, partition, agent_id, entry)
            except Unprovable:
                assert entry is not None
                messages, end = tail.result()
                agent = Agent(entry.head, new_document(), 0, self.resolve)
                if not self._fold_tail(reads, agent, messages):
                    raise
                reads.warnings.append("its events put another state in place of the unproved one")
                return self._done(reads, agent, partition, end)
        messages, end = tail.result()
        self._fold_tail(reads, agent, messages)
        return self._done(reads, agent, partition, end)

    def partition_of(self, agent_id: str) -> int:
        """The partition that holds an agent, in events, snapshots and index."""
        return partition_of(agent_id.encode(), self.partitions)

    def by_partition(
        self, agent_ids: Iterable[str] | None
    ) -> Iterator[tuple[int, set[bytes] | None]]:
        """The partitions of agents, in order, with the keys that are wanted of each; for None
        every partition, with None for all that is there.
        """
        if agent_ids is None:
            yield from ((number, None) for number in range(self.partitions))
            return
        wanted: dict[int, set[bytes]] = {}
        for key in map(str.encode, agent_ids):
            wanted.setdefault(partition_of(key, self.partitions), set()).add(key)
        yield from sorted(wanted.items())

    def advance(self, recovered: Recovered, *, until: int | None = None) -> Recovered:
        """``recovered``, read on to the end of its events partition, or through ``until``.

        Its agent is changed in place.
        """
        reads = Reads()
        key, partition = recovered.agent_id.encode(), recovered.partition
        try:
            messages, end = self._tail(reads, key, partition, recovered.next_offset, until)
        except Unprovable:  # what comes next was deleted meanwhile: snapshots hold it
            return self.look(recovered.agent_id, until=until)
        self._fold_tail(reads, recovered.agent, messages)
        return self._done(reads, recovered.agent, partition, end)

    def advance_many(
        self, recovered: Iterable[Recovered], untils: Mapping[int, int] | None = None
    ) -> Iterator[list[Recovered]]:
        """:meth:`advance` for several agents, whose partitions are read side by side, each once:
        the agents of a partition as soon as its tail was read. ``untils`` has offsets by partition.
        """
        for tails in self.tails(recovered, untils):
            yield [self.follow(tail) for tail in tails]

    def tails(
        self, recovered: Iterable[Recovered], untils: Mapping[int, int] | None = None
    ) -> Iterator[list[Tail]]:
        """What :meth:`advance_many` folds; it changes no agent."""
        groups: defaultdict[int, dict[bytes, Recovered]] = defaultdict(dict)
        for r in recovered:
            groups[r.partition][r.agent_id.encode()] = r
        stops = untils or {}
        spans = {
            p: (min(r.next_offset for r in group.values()), stops.get(p))
            for p, group in groups.items()
        }
        own: defaultdict[bytes, list[Message]] = defaultdict(list)
        ends = {p: start for p, (start, _) in spans.items()}
        try:
            with self.scans.lend() as reader:
                for p, batch, done in reader.scan_many(self.config.topic("events"), spans):
                    for message in batch:
                        key = message.key() or b""
                        one = groups[p].get(key)
                        if one is not None and (message.offset() or 0) >= one.next_offset:
                            own[key].append(message)
                    if batch:
                        ends[p] = _after(batch[-1])
                    if done:
                        group = groups.pop(p)
                        # A new leader's log may end before what was read of its predecessor's.
                        yield [
                            Tail(r, own[key], max(r.next_offset, ends[p]))
                            for key, r in group.items()
                        ]
        except Unprovable:  # what comes next was deleted meanwhile: snapshots hold it
            if len(groups) == 1:
                ((p, group),) = groups.items()
                yield [Tail(r, None, stops.get(p)) for r in group.values()]
                return
            for group in groups.values():  # of one of them
                yield from self.tails(group.values(), untils)

    def follow(self, tail: Tail) -> Recovered:
        """An agent with its tail, changed in place."""
        recovered = tail.recovered
        if tail.messages is None or tail.end is None:
            return self.look(recovered.agent_id, until=tail.end)
        reads = Reads()
        self._fold_tail(reads, recovered.agent, tail.messages)
        return self._done(reads, recovered.agent, recovered.partition, tail.end)

    def index(self, partition: int) -> IndexPartition:
        """One whole partition of the index."""
        if self._follower is not None:
            return self._follower.partition(partition)
        return read_index(self.config, self.scans, partition)

    def _done(self, reads: Reads, agent: Agent, partition: int, end: int) -> Recovered:
        for warning in reads.warnings:
            log.warning("agent %s: %s", agent.head.agent_id, warning)
        return Recovered(
            agent=agent,
            partition=partition,
            next_offset=end,
            records=reads.records,
            size_bytes=reads.size_bytes,
            snapshots=reads.snapshots,
            tail_records=reads.tail_records,
            seconds=time.perf_counter() - reads.started,
            warnings=tuple(reads.warnings),
            tried=tuple(reads.tried),
        )

    def lookup(self, partition: int, key: bytes) -> tuple[IndexEntry | None, int]:
        """An agent's newest index entry, and where the tail of its events partition begins."""
        if self._follower is not None:
            return self._follower.lookup(partition, key)
        return self._reread(partition, key)

    def _reread(self, partition: int, key: bytes) -> tuple[IndexEntry | None, int]:
        index = read_index(self.config, self.scans, partition, key)
        return index.entry(key), index.next_offset

    def _tail(
        self, reads: Reads, key: bytes, partition: int, start: int, until: int | None
    ) -> tuple[list[Message], int]:
        """The agent's own records from ``start`` on, and the offset after the last one read."""
        own: list[Message] = []
        end = start
        with self.scans.lend() as reader:
            for batch in reader.scan(self.config.topic("events"), partition, start, until):
                own += [m for m in batch if m.key() == key]
                reads.records += len(batch)
                if batch:
                    end = _after(batch[-1])
        reads.size_bytes += sum(len(m.value() or b"") for m in own)
        return own, end

    @staticmethod
    def _fold_tail(reads: Reads, agent: Agent, messages: Sequence[Message]) -> bool:
        """Whether some record among them put a state in place that depends on none before it."""
        reads.tail_records += len(messages)
        anew = False
        for message in messages:
            try:
                change = parse(message.key(), message.value())
                if fold(agent, change) is Admission.ADMITTED:
                    origin = read_origin(change.kind, change.patch)
                    anew |= change.kind == "DELETE" or origin is not None
            except UndecodableRecord as error:
                # The compactor sets such a record aside, too.
                log.debug("passed over at offset %s: %s", message.offset(), error)
        return anew

    def _from_snapshots(
        self, reads: Reads, partition: int, agent_id: str, entry: IndexEntry | None
    ) -> Agent:
        if entry is None:
            return new_agent(agent_id, self.resolve)
        if not entry.snapshots:
            return Agent(entry.head, new_document(), 0, self.resolve)
        return prove_chain(self._chain(reads, partition, entry), entry, self.resolve)

    def _chain(self, reads: Reads, partition: int, entry: IndexEntry) -> list[Snapshot]:
        chain = []
        with self.points.lend() as reader:
            for pointer in entry.snapshots:
                message = reader.get(self.config.topic("snapshots"), partition, pointer.offset)
                if message is None:
                    raise InvalidState(f"no snapshot at offset {pointer.offset}", "pointer")
                snapshot = self._decode(reads.count(message), partition)
                check_pointer(snapshot, entry.head.agent_id, pointer)
                chain.append(snapshot)
        reads.snapshots += len(chain)
        reads.warnings += filter(None, [check_time(chain[-1], wall_ms())])
        return chain

    def _decode(self, value: bytes, partition: int) -> Snapshot:
        return decode_snapshot(value, lambda offset: self.fetch(partition, offset))

    def _next_proof(
        self, reads: Reads, partition: int, agent_id: str, entry: IndexEntry | None
    ) -> Agent:
        """The state at the indexed head: from the chain as indexed now, or from the first of the
        other layers that proves it.
        """
        try:
            return self._from_snapshots(reads, partition, agent_id, entry)
        except PROOF_ERRORS as error:
            reads.warnings.append(str(error))
        assert entry is not None
        agent, tried = find_proof(self, partition, entry, self.sources)
        reads.tried += tried
        reads.warnings.append(f"state taken from {tried[-1].layer}")
        return agent


def _nothing_declared(agent_id: str) -> Document | None:
    return None


def _after(message: Message) -> int:
    return (message.offset() or 0) + 1
