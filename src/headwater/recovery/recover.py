"""Recovers agents: index entry, full snapshot, increments, tail; never a state without proof."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Message

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
from headwater.log.fold import Agent, fold, new_agent
from headwater.log.records import parse
from headwater.log.snapshots import (
    PROOF_ERRORS,
    IndexEntry,
    Snapshot,
    check_pointer,
    decode_snapshot,
    extend_agent,
    prove_chain,
    start_agent,
)
from headwater.recovery.index import IndexFollower, IndexPartition, read_index
from headwater.recovery.model import Recovered

log = logging.getLogger("headwater.recovery")


@dataclass(slots=True)
class Reads:
    """What one recovery has read so far."""

    started: float = field(default_factory=time.perf_counter)
    records: int = 0
    size_bytes: int = 0
    snapshots: int = 0
    tail_records: int = 0
    warnings: list[str] = field(default_factory=list)

    def count(self, message: Message) -> bytes:
        """Count a record and return its value."""
        value = message.value() or b""
        self.records += 1
        self.size_bytes += len(value)
        return value


class Recovery:
    """Reads agents back from one cluster. Safe for use by several threads at once."""

    def __init__(self, config: Config, partitions: int, follow_index: bool = False) -> None:
        self.config = config
        self.partitions = partitions
        self.points = ReaderPool(config, clients.POINT_READS)
        self.scans = ReaderPool(config, clients.SCANS)
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="headwater-recovery")
        self._follower = IndexFollower(config, partitions) if follow_index else None

    def close(self) -> None:
        """Stop following the index and close every reader."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._follower is not None:
            self._follower.close()
        self.points.close()
        self.scans.close()

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
        entry, start = self._lookup(partition, key)
        tail = self._threads.submit(self._tail, reads, key, partition, start, until)
        try:
            agent = self._from_snapshots(reads, partition, agent_id, entry)
        except PROOF_ERRORS as error:
            # The index may have moved on since it was read; a newer entry points elsewhere.
            entry, newer = self._reread(partition, key)
            reads.warnings.append(str(error))
            tail.result()
            tail = self._threads.submit(self._tail, reads, key, partition, newer, until)
            agent = self._next_proof(reads, partition, agent_id, entry)
        messages, end = tail.result()
        self._fold_tail(reads, agent, messages)
        return self._done(reads, agent, partition, end)

    def partition_of(self, agent_id: str) -> int:
        """The partition that holds an agent, in events, snapshots and index."""
        return partition_of(agent_id.encode(), self.partitions)

    def advance(self, recovered: Recovered, *, until: int | None = None) -> Recovered:
        """``recovered``, read on to the end of its events partition, or through ``until``.

        Its agent is changed in place.
        """
        reads = Reads()
        key, partition = recovered.agent_id.encode(), recovered.partition
        messages, end = self._tail(reads, key, partition, recovered.next_offset, until)
        self._fold_tail(reads, recovered.agent, messages)
        return self._done(reads, recovered.agent, partition, end)

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
        )

    def _lookup(self, partition: int, key: bytes) -> tuple[IndexEntry | None, int]:
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
    def _fold_tail(reads: Reads, agent: Agent, messages: Sequence[Message]) -> None:
        reads.tail_records += len(messages)
        for message in messages:
            try:
                fold(agent, parse(message.key(), message.value()))
            except UndecodableRecord as error:
                # The compactor sets such a record aside, too.
                log.debug("passed over at offset %s: %s", message.offset(), error)

    def _from_snapshots(
        self, reads: Reads, partition: int, agent_id: str, entry: IndexEntry | None
    ) -> Agent:
        if entry is None:
            return new_agent(agent_id)
        if not entry.snapshots:
            return Agent(entry.head, new_agent(agent_id).document)
        return prove_chain(self._chain(reads, partition, entry), entry)

    def _chain(self, reads: Reads, partition: int, entry: IndexEntry) -> list[Snapshot]:
        chain = []
        with self.points.lend() as reader:
            for pointer in entry.snapshots:
                message = reader.get(self.config.topic("snapshots"), partition, pointer.offset)
                if message is None:
                    raise InvalidState(f"no snapshot at offset {pointer.offset}", "pointer")
                snapshot = decode_snapshot(reads.count(message))
                check_pointer(snapshot, entry.head.agent_id, pointer)
                chain.append(snapshot)
        reads.snapshots += len(chain)
        return chain

    def _next_proof(
        self, reads: Reads, partition: int, agent_id: str, entry: IndexEntry | None
    ) -> Agent:
        """The newest provable state at the indexed head: the chain as indexed now, the part of
        it that holds and then events, or events alone.
        """
        try:
            return self._from_snapshots(reads, partition, agent_id, entry)
        except PROOF_ERRORS as error:
            reads.warnings.append(str(error))
        assert entry is not None
        agent, start = self._sound_part(reads, partition, entry)
        return self._replay(reads, partition, agent, start, entry)

    def _sound_part(
        self, reads: Reads, partition: int, entry: IndexEntry
    ) -> tuple[Agent, int | None]:
        agent: Agent | None = None
        start: int | None = None
        for pointer in entry.snapshots:
            single = msgspec.structs.replace(entry, snapshots=(pointer,))
            try:
                (snapshot,) = self._chain(reads, partition, single)
                if agent is None:
                    agent = start_agent(snapshot)
                else:
                    extend_agent(agent, snapshot)
            except PROOF_ERRORS:
                break
            start = snapshot.events_offset
        return agent or new_agent(entry.head.agent_id), start

    def _replay(
        self, reads: Reads, partition: int, agent: Agent, start: int | None, entry: IndexEntry
    ) -> Agent:
        """Fold events onto ``agent`` until it is at the indexed head."""
        key, target = agent.head.agent_id.encode(), entry.head
        source = "the first event" if start is None else f"offset {start}"
        with self.scans.lend() as reader:
            for batch in reader.scan(self.config.topic("events"), partition, start):
                reads.records += len(batch)
                for message in batch:
                    if agent.head.hash == target.hash:
                        break
                    if message.key() == key:
                        reads.size_bytes += len(message.value() or b"")
                        self._fold_tail(reads, agent, [message])
        if agent.head.hash != target.hash:
            reads.warnings.append(f"replaying from {source} does not lead to the indexed head")
            raise Unprovable(
                f"agent {target.agent_id!r}: neither its snapshots nor its events prove version "
                f"{target.version}: " + "; ".join(reads.warnings),
                reads.warnings,
            )
        reads.warnings.append(f"replayed events from {source} instead")
        return Agent(target, agent.document, agent.inapplicable)


def _after(message: Message) -> int:
    return (message.offset() or 0) + 1
