"""For tests of the compactor: writers of events, a store in memory, and what readers see of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from confluent_kafka import Message

from headwater.errors import HeadwaterError
from headwater.log.chain import genesis_hash, next_hash, record_digest
from headwater.log.fold import Agent, fold, new_agent
from headwater.log.origin import Resolve, unresolved
from headwater.log.records import Encoder, parse
from headwater.log.resolve import Fetch, read_snapshot, resolver
from headwater.log.snapshots import (
    POSITION_KEY,
    IndexEntry,
    Pointer,
    Snapshot,
    decode_entry,
    prove_chain,
    start_agent,
)
from headwater.state.model import state_hash
from headwater.state.patch import APPEND, SET, encode_patch
from streams.snapshots.store import Holdings, decode_position
from streams.snapshots.tracked import Position

NONCE = b"0123456789abcdef"
STARTS = [(SET, ["session_id"], "s-1"), (SET, ["status"], "busy")]


class Author:
    """Writes one agent's records, each extending the one before."""

    def __init__(self, agent_id: str, node_id: str = "node-1") -> None:
        self.agent_id = agent_id
        self.key = agent_id.encode()
        self.node_id = node_id
        self.epoch = 0
        self.sequence = 0
        self.hash = genesis_hash(agent_id)
        self._session = self._encoder(None)

    def _encoder(self, nonce: bytes | None) -> Encoder:
        return Encoder(
            agent_id=self.agent_id,
            epoch=self.epoch,
            nonce=nonce,
            session_id="s-1",
            request_id=None,
            node_id=self.node_id,
            incarnation=NONCE,
            lease_ms=3000,
        )

    def _written(self, value: bytes) -> bytes:
        self.hash = next_hash(self.hash, record_digest(value))
        self.sequence += 1
        return value

    def claim(self) -> bytes:
        """A claim; what follows is the owner's."""
        self.epoch += 1
        self._session = self._encoder(NONCE)
        return self._written(self._session.claim(1))

    def change(self, *ops: tuple[Any, ...]) -> bytes:
        """A change; the first one ever should contain ``STARTS``, or the state is invalid."""
        return self.raw("CHANGE", encode_patch(list(ops)))

    def say(self, text: str) -> bytes:
        """A change that appends a message, on top of what makes the state valid."""
        return self.change(*STARTS, (APPEND, ["messages"], text), (SET, ["step"], self.sequence))

    def raw(self, kind: str, patch: bytes = b"") -> bytes:
        """Any record that extends the head."""
        value = self._session.record(kind, self.hash, self.sequence + 1, patch, 2)
        if kind in ("RELEASE", "DELETE"):
            self._session = self._encoder(None)
        return self._written(value)


def messages(
    records: Iterable[tuple[bytes | None, bytes | None]], start: int = 0, partition: int = 0
) -> list[Message]:
    """Keys and values as records of the log, at offsets from ``start``."""
    return [
        Message(topic="events", partition=partition, offset=offset, key=key, value=value)
        for offset, (key, value) in enumerate(records, start)
    ]


class Failure(HeadwaterError):
    """What a store in memory fails with."""


class MemoryStore:
    """A store whose transactions are lists. ``fail_at`` names a method that fails once."""

    events_topic = "events"

    def __init__(self) -> None:
        self.snapshots: dict[int, tuple[str, bytes]] = {}
        self.index: dict[bytes, bytes] = {}
        self.checkpoints: dict[bytes, bytes] = {}
        self.dead_letters: list[bytes] = []
        self.commits: list[bytes] = []
        self.events: list[Message] = []
        self.fail_at: str | None = None
        self.reads = 0
        self.closed = 0
        self._offset = 0
        self._undone: list[Callable[[], None]] = []

    def _maybe_fail(self, where: str) -> None:
        if self.fail_at == where:
            self.fail_at = None
            raise Failure(where)

    def take_over(self) -> Holdings:
        """What was committed."""
        self._maybe_fail("take_over")
        self._undone.clear()
        position = self.index.get(POSITION_KEY)
        return Holdings(
            position=decode_position(position) if position else Position(),
            entries={k: v for k, v in self.index.items() if k != POSITION_KEY},
        )

    def begin(self) -> None:
        """Begin a transaction."""
        self._maybe_fail("begin")
        self._undone.clear()

    def put_snapshot(self, key: str, value: bytes, written: Callable[[int], None]) -> None:
        """Write to snapshots."""
        offset, self._offset = self._offset, self._offset + 1
        self._undone.append(lambda: self.snapshots.__setitem__(offset, (key, value)))
        written(offset)

    def settle(self) -> None:
        """Wait until everything so far is written."""
        self._maybe_fail("settle")

    def put_index(self, key: bytes, value: bytes) -> None:
        """Write to the index."""
        self._undone.append(lambda: self.index.__setitem__(key, value))

    def put_checkpoint(self, key: bytes, value: bytes) -> None:
        """Write to checkpoints."""
        self._undone.append(lambda: self.checkpoints.__setitem__(key, value))

    def put_dead_letter(self, value: bytes) -> None:
        """Write to dead-letters."""
        self._undone.append(lambda: self.dead_letters.append(value))

    def put_commit(self, value: bytes) -> None:
        """Write to commits."""
        self._undone.append(lambda: self.commits.append(value))

    def commit(self) -> None:
        """Make the transaction's writes visible."""
        self._maybe_fail("commit")
        for do in self._undone:
            do()
        self._undone.clear()
        self._offset += 1  # the marker's

    def read_snapshots(self, first: int, last: int, much: bool) -> Iterator[tuple[int, bytes]]:
        """Committed snapshots."""
        self.reads += 1
        for offset in range(first, last + 1):
            if offset in self.snapshots:
                yield offset, self.snapshots[offset][1]

    def fetch(self, partition: int, offset: int) -> bytes | None:
        """The value at an offset; of the only partition."""
        return self.snapshots.get(offset, ("", None))[1]

    def read_events(self, start: int | None, until: int) -> Iterator[list[Message]]:
        """The records of events."""
        yield [m for m in self.events if (start or 0) <= (m.offset() or 0) < until]

    def close(self) -> None:
        """Forget an open transaction."""
        self.closed += 1
        self._undone.clear()

    def entry(self, agent_id: str) -> IndexEntry:
        """An agent's committed index entry."""
        return decode_entry(self.index[agent_id.encode()])

    def position(self) -> Position:
        """The committed position."""
        return decode_position(self.index[POSITION_KEY])


def folded(
    events: Iterable[Message], until: int, resolve: Resolve = unresolved
) -> dict[str, Agent]:
    """Every agent straight from the log, up to before an offset."""
    agents: dict[str, Agent] = {}
    for message in events:
        if (message.offset() or 0) >= until:
            break
        try:
            change = parse(message.key(), message.value())
        except HeadwaterError:
            continue
        if change.kind != "BARRIER":
            agent = agents.get(change.agent_id) or new_agent(change.agent_id, resolve)
            fold(agent, change)
            if agent.head.sequence:
                agents[change.agent_id] = agent
    return agents


def chain_at(
    fetch: Fetch, partition: int, agent_id: str, pointers: Iterable[Pointer]
) -> list[Snapshot]:
    """The snapshots that pointers mean."""
    return [read_snapshot(fetch, partition, agent_id, pointer) for pointer in pointers]


def check_entry(entry: IndexEntry, truth: Agent, fetch: Fetch, partition: int = 0) -> None:
    """Holds what a reader proves from index and snapshots against the fold of the log."""
    assert entry.head == truth.head
    if not entry.snapshots:
        assert truth.document == new_agent("x").document
        return
    agent_id, resolve = truth.head.agent_id, resolver(fetch)
    proved = prove_chain(chain_at(fetch, partition, agent_id, entry.snapshots), entry, resolve)
    assert state_hash(agent_id, proved.document) == state_hash(agent_id, truth.document)
    assert proved.inapplicable == truth.inapplicable


def check_previous(entry: IndexEntry, fetch: Fetch, partition: int = 0) -> int:
    """Walks back from chain to chain: each leads to the state with which the next one begins.
    Returns how many there are.
    """
    agent_id, count, pointers = entry.head.agent_id, 0, entry.snapshots
    resolve = resolver(fetch)
    while pointers:
        count += 1
        (first,) = chain_at(fetch, partition, agent_id, pointers[:1])
        pointers = first.previous
        if pointers and pointers[-1].to_version == first.to_version:
            last = msgspec.structs.replace(entry, snapshot_hash=first.to_hash)
            ended = prove_chain(chain_at(fetch, partition, agent_id, pointers), last, resolve)
            begun = start_agent(first, resolve)
            assert state_hash(agent_id, ended.document) == state_hash(agent_id, begun.document)
    return count


def check_store(store: MemoryStore, events: Iterable[Message], *, previous: bool = True) -> None:
    """Everything committed is what the log says up to the position, now and (``previous``) in
    the chains before.
    """
    agents = folded(events, store.position().next_offset, resolver(store.fetch))
    entries = {k.decode(): decode_entry(v) for k, v in store.index.items() if k != POSITION_KEY}
    assert entries.keys() == agents.keys()
    for agent_id, entry in entries.items():
        check_entry(entry, agents[agent_id], store.fetch)
        if previous:
            check_previous(entry, store.fetch)
