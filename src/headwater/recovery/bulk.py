"""Recovers many agents at once: each topic partition is read once, in order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from confluent_kafka import Message

from headwater.clock import wall_ms
from headwater.errors import AgentNotFound, HeadwaterError, UndecodableRecord, Unprovable
from headwater.kafka.reader import Reader
from headwater.log.fold import Admission, Agent, Head, admit, advance, fold, genesis, new_agent
from headwater.log.records import parse
from headwater.log.sealing import decode_snapshot
from headwater.log.snapshots import (
    PROOF_ERRORS,
    IndexEntry,
    Snapshot,
    check_pointer,
    check_time,
    prove_chain,
)
from headwater.recovery.ahead import ahead
from headwater.recovery.index import IndexPartition
from headwater.recovery.model import Failed, Recovered
from headwater.recovery.recover import Recovery
from headwater.state.model import new_document

# A scan reads what lies between the wanted records, too; below this share of wanted ones,
# reading each at its offset is cheaper.
_DENSE = 0.1
# Agents whose records wait to be proved while others are read.
_AHEAD = 64


@dataclass(slots=True)
class _Wanted:
    """One agent's chain while it is being read."""

    entry: IndexEntry
    values: dict[int, bytes] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return len(self.values) == len(self.entry.snapshots)


def agent_heads(recovery: Recovery) -> Iterator[IndexEntry]:
    """The newest entry of every agent in index or tail, deleted ones left out, partition by
    partition: its snapshots as indexed, its head as the tail has moved it. Reads no state.
    """
    for partition in range(recovery.partitions):
        index = recovery.index(partition)
        tails, _ = _tails(recovery, partition, index, None)
        for key in sorted(index.entries.keys() | tails.keys()):
            entry = index.entry(key) or _no_entry(key)
            head = entry.head
            for message in tails.get(key, ()):
                head = _next_head(head, message)
            if head.exists:
                yield IndexEntry(head, entry.snapshot_hash, entry.snapshots)


def agent_ids(recovery: Recovery) -> Iterator[str]:
    """Every agent in index or tail, deleted ones left out, partition by partition."""
    return (entry.head.agent_id for entry in agent_heads(recovery))


def recover_many(
    recovery: Recovery, agent_ids: Iterable[str] | None = None
) -> Iterator[Recovered | Failed]:
    """Each of ``agent_ids`` (None: all that exist), in the order in which the log has them.

    An agent that cannot be recovered is a :class:`Failed`; the others are not held up.
    """
    partitions = list(recovery.by_partition(agent_ids))
    read = (
        found
        for partition, wanted in partitions
        for found in _read_partition(recovery, partition, wanted)
    )
    for found in ahead(read, _AHEAD):
        yield from _recover(recovery, found, asked_for=agent_ids is not None)


def recover_partition(
    recovery: Recovery, partition: int, wanted: set[bytes] | None
) -> Iterator[Recovered | Failed]:
    """One partition of :func:`recover_many`; ``wanted`` are keys, None for every agent."""
    for found in _read_partition(recovery, partition, wanted):
        yield from _recover(recovery, found, asked_for=wanted is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What was read of one agent: its entry, the values of its chain, its records in the tail."""

    key: bytes
    entry: IndexEntry | None
    values: list[bytes]
    tail: list[Message]
    partition: int
    end: int


def _read_partition(
    recovery: Recovery, partition: int, wanted: set[bytes] | None
) -> Iterator[_Read]:
    """``wanted`` are keys, None for every agent."""
    index = recovery.index(partition)
    tails, end = _tails(recovery, partition, index, wanted)

    def found(key: bytes, entry: IndexEntry | None, values: list[bytes]) -> _Read:
        tail = tails.get(key, [])
        return _Read(key=key, entry=entry, values=values, tail=tail, partition=partition, end=end)

    chained: dict[bytes, IndexEntry] = {}
    for key in (index.entries.keys() | tails.keys()) if wanted is None else wanted:
        entry = index.entry(key)
        if entry is not None and entry.snapshots:
            chained[key] = entry
        else:
            yield found(key, entry, [])
    for key, values, entry in read_chains(recovery, partition, chained):
        yield found(key, entry, values)


def _recover(recovery: Recovery, found: _Read, *, asked_for: bool) -> Iterator[Recovered | Failed]:
    started = time.perf_counter()
    agent_id = found.key.decode(errors="replace")
    try:
        agent, warning = _fold(recovery, found, agent_id)
    except PROOF_ERRORS:
        # The careful way: a newer index entry, or an older proof, with its warnings.
        yield _one(recovery, agent_id)
        return
    except HeadwaterError as error:
        yield Failed(agent_id=agent_id, error=error)
        return
    if not agent.head.exists:
        if asked_for:
            missing = AgentNotFound(f"agent {agent_id!r} is not in the log, or was deleted")
            yield Failed(agent_id=agent_id, error=missing)
        return
    values, tail = found.values, found.tail
    yield Recovered(
        agent=agent,
        partition=found.partition,
        next_offset=found.end,
        records=len(values) + len(tail),
        size_bytes=sum(map(len, values)) + sum(len(m.value() or b"") for m in tail),
        snapshots=len(values),
        tail_records=len(tail),
        seconds=time.perf_counter() - started,
        warnings=(warning,) if warning else (),
    )


def _fold(recovery: Recovery, found: _Read, agent_id: str) -> tuple[Agent, str | None]:
    """The agent, and what to warn of."""
    entry, resolve, warning = found.entry, recovery.resolve, None
    if entry is None:
        agent = new_agent(agent_id, resolve)
    elif entry.snapshots:
        chain = decode_chain(recovery, found.partition, entry, found.values)
        agent = prove_chain(chain, entry, resolve)
        warning = check_time(chain[-1], wall_ms())
    else:
        agent = Agent(entry.head, new_document(), 0, resolve)
    for message in found.tail:
        try:
            change = parse(message.key(), message.value())
        except UndecodableRecord:
            continue  # the compactor sets it aside
        fold(agent, change)
    return agent, warning


def _one(recovery: Recovery, agent_id: str) -> Recovered | Failed:
    try:
        return recovery.recover(agent_id)
    except HeadwaterError as error:
        return Failed(agent_id=agent_id, error=error)


def _no_entry(key: bytes) -> IndexEntry:
    head = genesis(key.decode(errors="replace"))
    return IndexEntry(head, head.hash, ())


def _next_head(head: Head, message: Message) -> Head:
    try:
        change = parse(message.key(), message.value())
    except UndecodableRecord:
        return head
    return advance(head, change) if admit(head, change) is Admission.ADMITTED else head


def _tails(
    recovery: Recovery, partition: int, index: IndexPartition, wanted: set[bytes] | None
) -> tuple[dict[bytes, list[Message]], int]:
    tails: dict[bytes, list[Message]] = {}
    end = index.next_offset
    with recovery.scans.lend() as reader:
        for batch in reader.scan(recovery.config.topic("events"), partition, end):
            for message in batch:
                key = message.key()
                if key is not None and (wanted is None or key in wanted):
                    tails.setdefault(key, []).append(message)
                end = (message.offset() or 0) + 1
    return tails, end


def decode_chain(
    recovery: Recovery, partition: int, entry: IndexEntry, values: list[bytes]
) -> list[Snapshot]:
    """The snapshots of a chain, each held against its pointer."""
    chain = [decode_snapshot(v, lambda at: recovery.fetch(partition, at)) for v in values]
    for snapshot, pointer in zip(chain, entry.snapshots, strict=False):
        check_pointer(snapshot, entry.head.agent_id, pointer)
    return chain


def read_chains(
    recovery: Recovery, partition: int, chained: dict[bytes, IndexEntry]
) -> Iterator[tuple[bytes, list[bytes], IndexEntry]]:
    """Each agent's chain of values as soon as it is complete; whatever is missing, at the end."""
    owner = {p.offset: key for key, entry in chained.items() for p in entry.snapshots}
    if not owner:
        return
    left = {key: _Wanted(entry) for key, entry in chained.items()}
    topic = recovery.config.topic("snapshots")
    with recovery.scans.lend() as scans, recovery.points.lend() as points:
        for offset, value in _read(scans, points, topic, partition, sorted(owner)):
            key = owner[offset]
            wanted = left[key]
            wanted.values[offset] = value
            if wanted.complete:
                del left[key]
                yield key, [wanted.values[p.offset] for p in wanted.entry.snapshots], wanted.entry
    for key, wanted in left.items():
        yield key, list(wanted.values.values()), wanted.entry


def _read(
    scans: Reader, points: Reader, topic: str, partition: int, offsets: list[int]
) -> Iterator[tuple[int, bytes]]:
    left = set(offsets)
    if len(offsets) >= _DENSE * (offsets[-1] - offsets[0] + 1):
        with suppress(Unprovable):  # the log does not hold some of them
            for batch in scans.scan(topic, partition, offsets[0], offsets[-1] + 1):
                for message in batch:
                    offset = message.offset() or 0
                    if offset in left:
                        left.discard(offset)
                        yield offset, message.value() or b""
            return
    for offset in sorted(left):
        found = points.get(topic, partition, offset)
        if found is not None:
            yield offset, found.value() or b""
