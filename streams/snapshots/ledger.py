"""What one instance knows of one events partition: every agent's head, and what is pending.

Admission is decided here, record by record, by heads alone; no state is kept. Nothing here reads
or writes: records come in, and :meth:`Ledger.harvest` hands out what is to be committed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Message

from headwater.errors import HeadwaterError, SchemaTooNew, UndecodableRecord
from headwater.log.chain import partition_of
from headwater.log.fastpath import MovingHead
from headwater.log.fold import Admission, Head, genesis
from headwater.log.records import StateChange, parse
from headwater.log.snapshots import IndexEntry, Pointer, decode_entry

from .throttle import Throttle

log = logging.getLogger("headwater.compactor")


class Position(msgspec.Struct):
    """How far a partition has come, and what was refused on the way; as in ``Position.avsc``."""

    next_offset: int = 0
    repeats: int = 0
    stale: int = 0
    conflicts: int = 0
    dead_letters: int = 0


@dataclass(slots=True)
class Chain:
    """The snapshots of one agent. Touched by nobody but the commit that is under way.

    They lead to ``version`` and ``hash``. Without any, ``base`` is a head at which the state is
    the empty document, and ``version`` and ``hash`` are its own.
    """

    pointers: tuple[Pointer, ...]
    version: int
    hash: bytes
    base: Head | None
    full_failures: int = 0
    skip_fulls: int = 0


class Tracked(MovingHead):
    """An agent's head, its snapshots, and the patches since the last harvest."""

    __slots__ = ("chain", "dirty", "key", "patches", "pending_bytes", "reset", "sealed")

    def __init__(self, key: bytes, head: Head, chain: Chain) -> None:
        super().__init__(head)
        self.key = key
        self.chain = chain
        self.dirty = False
        self._empty()

    def _empty(self) -> None:
        self.patches: list[bytes] = []
        self.pending_bytes = 0
        self.sealed: list[Segment] = []
        self.reset: Reset | None = None

    def seal(self, offset: int) -> None:
        """Close what is pending as an increment of its own; ``offset`` is that of what follows."""
        self.sealed.append(Segment(head=self.head, patches=self.patches, events_offset=offset))
        self.patches = []
        self.pending_bytes = 0

    def delete(self, offset: int) -> None:
        """Forget what is pending: the record at ``offset`` ended the agent's life."""
        self._empty()
        self.reset = Reset(head=self.head, events_offset=offset + 1)

    def harvest(self, next_offset: int) -> Dirty:
        """Hand out what is pending, and start anew."""
        self.seal(next_offset)
        dirty = Dirty(key=self.key, chain=self.chain, segments=self.sealed, reset=self.reset)
        self._empty()
        self.dirty = False
        return dirty


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Patches that fit into one increment, and the head that they lead to. Every record of the
    agent below ``events_offset`` is in that head.
    """

    head: Head
    patches: list[bytes]
    events_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """The head at which the agent was deleted, and the offset behind that record."""

    head: Head
    events_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dirty:
    """An agent with something new: one segment or more; ``reset`` if it was deleted before them."""

    key: bytes
    chain: Chain
    segments: list[Segment]
    reset: Reset | None

    @property
    def head(self) -> Head:
        """The agent's head at the end of the batch."""
        return self.segments[-1].head


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that is no agent's, and why."""

    offset: int
    reason: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Everything that one commit writes: what offsets from ``start`` up to the position's did."""

    start: int
    position: Position
    agents: list[Dirty]
    dead_letters: list[DeadLetter]
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """Where a partition stopped, and why."""

    offset: int
    reason: str


@dataclass(slots=True)
class _Pending:
    start: int
    agents: list[Tracked] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    events: int = 0
    size_bytes: int = 0


class Ledger:
    """Heads and pending changes of one partition.

    ``entries`` are the values of the index by agent id; each is decoded when its agent is first
    met, so that taking over a million agents takes no longer than reading them. ``gap`` is the
    offset of a record that came though another was due: reading must start at ``next_offset``
    again, and where that record still comes first, nothing is missing.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        position: Position,
        entries: dict[bytes, bytes],
        segment_bytes: int,
    ) -> None:
        self.partition = partition
        self.parked: Parked | None = None
        self.gap: int | None = None
        self._partitions = partitions
        self._position = position
        self._entries = entries
        self._segment_bytes = segment_bytes
        self._agents: dict[bytes, Tracked] = {}
        self._pending = _Pending(position.next_offset)
        self._throttle = Throttle(1.0)

    @property
    def next_offset(self) -> int:
        """Offset of the first record that was not taken in."""
        return self._position.next_offset

    @property
    def pending_bytes(self) -> int:
        """Bytes of the records since the last harvest."""
        return self._pending.size_bytes

    @property
    def has_pending(self) -> bool:
        """Whether there is anything to commit."""
        return self._position.next_offset > self._pending.start

    def take(self, messages: Iterable[Message]) -> None:
        """Take records in, in the log's order, up to the one (if any) that parks the partition."""
        agents, pending, position = self._agents, self._pending, self._position
        limit = self._segment_bytes
        if self.parked is not None:
            return
        for message in messages:
            offset = message.offset() or 0
            if offset != position.next_offset:
                if offset < position.next_offset:
                    continue  # from before a seek
                if offset != self.gap:
                    self.gap = offset
                    return
                # Read again, it is still the next one: a transaction's marker has that place.
                position.next_offset = offset
            key, value = message.key(), message.value()
            agent = agents.get(key) if key is not None else None
            patch = None
            if agent is not None and value is not None:
                if agent.pending_bytes + len(value) > limit and agent.patches:
                    agent.seal(offset)
                patch = agent.extend(value)
            if patch is not None and agent is not None and value is not None:
                agent.patches.append(patch)
                agent.pending_bytes += len(patch)
                pending.size_bytes += len(value)
                if not agent.dirty:
                    agent.dirty = True
                    pending.agents.append(agent)
            else:
                if not self._take_slowly(message, offset, key, value):
                    return
            pending.events += 1
            position.next_offset = offset + 1

    def park(self, reason: str) -> None:
        """Take nothing more in."""
        if self.parked is None:
            self.parked = Parked(offset=self.next_offset, reason=reason)

    def harvest(self) -> Batch:
        """Hand out all that is pending."""
        pending = self._pending
        position = msgspec.structs.replace(self._position)
        self._pending = _Pending(position.next_offset)
        return Batch(
            start=pending.start,
            position=position,
            agents=[agent.harvest(position.next_offset) for agent in pending.agents],
            dead_letters=pending.dead_letters,
            events=pending.events,
        )

    def _take_slowly(
        self, message: Message, offset: int, key: bytes | None, value: bytes | None
    ) -> bool:
        """Whether the record was dealt with; else it parks the partition."""
        try:
            change = parse(key, value)
            if change.kind != "BARRIER":
                self._admit(self._agent(change), change, value or b"", offset)
        except UndecodableRecord as error:
            self._set_aside(message, offset, str(error))
        except SchemaTooNew as error:
            self.parked = Parked(offset=offset, reason=str(error))
            return False
        return True

    def _agent(self, change: StateChange) -> Tracked:
        key = change.agent_id.encode()
        agent = self._agents.get(key)
        if agent is not None:
            return agent
        right = partition_of(key, self._partitions)
        if right != self.partition:
            raise UndecodableRecord(
                f"a record of agent {change.agent_id!r} in partition {self.partition}, "
                f"which belongs in {right}"
            )
        value = self._entries.get(key)
        if value is None:
            head = genesis(change.agent_id)
            return Tracked(key, head, Chain((), 0, head.hash, head))
        try:
            entry = decode_entry(value)
        except HeadwaterError as error:
            # Without the head nothing can be decided, and the event is not to blame.
            raise SchemaTooNew(f"index entry of agent {change.agent_id!r}: {error}") from error
        agent = Tracked(key, entry.head, _chain_of(entry))
        self._agents[key] = agent
        del self._entries[key]
        return agent

    def _admit(self, agent: Tracked, change: StateChange, value: bytes, offset: int) -> None:
        admission = agent.take(change, value)
        if admission is not Admission.ADMITTED:
            self._refuse(admission, change, offset)
            return
        self._agents[agent.key] = agent
        if change.kind == "DELETE":
            agent.delete(offset)
        elif change.patch:
            agent.patches.append(change.patch)
            agent.pending_bytes += len(change.patch)
        self._pending.size_bytes += len(value)
        if not agent.dirty:
            agent.dirty = True
            self._pending.agents.append(agent)

    def _refuse(self, admission: Admission, change: StateChange, offset: int) -> None:
        position = self._position
        if admission is Admission.REPEAT:
            position.repeats += 1
        elif admission is Admission.STALE:
            position.stale += 1
        else:
            position.conflicts += 1
        if (skipped := self._throttle.allow()) is not None:
            log.info(
                "refused events[%d]@%d: %s %s of agent %r by node %r (and %d more before it)",
                self.partition, offset, admission.value, change.kind, change.agent_id,
                change.node_id, skipped,
            )  # fmt: skip

    def _set_aside(self, message: Message, offset: int, reason: str) -> None:
        self._position.dead_letters += 1
        self._pending.dead_letters.append(
            DeadLetter(
                offset=offset,
                reason=reason,
                key=message.key(),
                value=message.value(),
                headers=_headers(message),
            )
        )
        self._pending.size_bytes += len(message.value() or b"")
        if (skipped := self._throttle.allow()) is not None:
            log.warning(
                "dead letter: events[%d]@%d: %s (and %d more before it)",
                self.partition, offset, reason, skipped,
            )  # fmt: skip


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    headers = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]


def _chain_of(entry: IndexEntry) -> Chain:
    head, pointers = entry.head, entry.snapshots
    if pointers:
        return Chain(pointers, pointers[-1].to_version, entry.snapshot_hash, None)
    return Chain((), head.version, head.hash, head)
