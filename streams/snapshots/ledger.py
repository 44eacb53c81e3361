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
from headwater.log.checkpoints import mark, noted
from headwater.log.fold import PATCHING, Admission, genesis
from headwater.log.notes import CheckpointType, Forget, read_note
from headwater.log.origin import read_origin
from headwater.log.records import StateChange, parse
from headwater.log.snapshots import IndexEntry, decode_entry

from .policy import OFF, CheckpointPolicy, Schedule
from .throttle import Throttle
from .tracked import Batch, Chain, DeadLetter, Position, Tracked

log = logging.getLogger("headwater.compactor")

_SWEEP = 100
_SWEEP_MS = 100


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
    refused: int = 0
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
        policy: CheckpointPolicy = OFF,
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
        self._policy = policy
        self._schedule = Schedule(policy.interval_ms)
        self._unswept = iter(tuple(entries) if policy.interval_ms is not None else ())
        self._swept_ms = 0

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
        pending = self._pending
        return self._position.next_offset > pending.start or bool(pending.agents)

    def take(self, messages: Iterable[Message]) -> None:
        """Take records in, in the log's order, up to the one (if any) that parks the partition."""
        agents, pending, position = self._agents, self._pending, self._position
        limit, watching = self._segment_bytes, self._policy.looks_at_changes
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
                if watching:
                    self._look_at(agent, patch)
            else:
                if not self._take_slowly(message, offset, key, value):
                    return
            pending.events += 1
            position.next_offset = offset + 1

    def park(self, reason: str) -> None:
        """Take nothing more in."""
        if self.parked is None:
            self.parked = Parked(offset=self.next_offset, reason=reason)

    def remind(self, now_ms: int) -> None:
        """Make the checkpoints that are due at ``now_ms`` (ms since 1970), of idle agents too."""
        if now_ms - self._swept_ms >= _SWEEP_MS:
            self._swept_ms = now_ms
            self._sweep()
        for key in self._schedule.due(now_ms):
            agent = self._agents.get(key) or self._load(key)
            if agent is not None and agent.head.exists:
                self._agents[key] = agent
                if agent.head.version > agent.marked_version:
                    self._mark_by_policy(agent, CheckpointType.AUTOMATIC, now_ms)

    def _sweep(self) -> None:
        """Look through agents that had changed since their last checkpoint when this instance took
        over; a few at a time, for there may be a million of them.
        """
        for _, key in zip(range(_SWEEP), self._unswept, strict=False):
            value = self._entries.get(key)
            if value is None:
                continue
            try:
                entry = decode_entry(value)
            except HeadwaterError:
                continue  # the agent's next event is what it holds up
            if entry.head.version > entry.checkpoint_version:
                self._schedule.changed(key, entry.checkpoint_at or entry.head.updated_at)

    def _look_at(self, agent: Tracked, patch: bytes) -> None:
        found = self._policy.at_change(patch)
        if found is not None:
            self._mark_by_policy(agent, found, agent.head.updated_at)

    def _mark_by_policy(self, agent: Tracked, type_: CheckpointType, now_ms: int) -> None:
        head = agent.head
        name = f"{type_.value}-{head.version}"
        agent.mark(mark(head, name, type_.value, created_at=now_ms))
        self._set_dirty(agent)

    def _set_dirty(self, agent: Tracked) -> None:
        if not agent.dirty:
            agent.dirty = True
            self._pending.agents.append(agent)

    def harvest(self, now_ms: int = 0) -> Batch:
        """Hand out all that is pending, at ``now_ms`` (ms since 1970)."""
        pending = self._pending
        position = msgspec.structs.replace(self._position)
        self._pending = _Pending(position.next_offset)
        for agent in pending.agents:
            agent.marked_at = agent.marked_at or now_ms
            if agent.version > agent.marked_version:
                self._schedule.changed(agent.key, agent.marked_at)
        return Batch(
            start=pending.start,
            position=position,
            agents=[agent.harvest(position.next_offset) for agent in pending.agents],
            dead_letters=pending.dead_letters,
            events=pending.events,
            refused=pending.refused,
            size_bytes=pending.size_bytes,
        )

    def _take_slowly(
        self, message: Message, offset: int, key: bytes | None, value: bytes | None
    ) -> bool:
        """Whether the record was dealt with; else it parks the partition."""
        try:
            change = parse(key, value)
            if change.kind != "BARRIER":
                self._admit(self._agent(change), change, value or b"", offset)
            elif change.patch:
                self._note(self._agent(change), change)
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
        agent = self._load(key)
        if agent is None:
            head = genesis(change.agent_id)
            return Tracked(key, head, Chain((), 0, head.hash, head))
        return agent

    def _load(self, key: bytes) -> Tracked | None:
        value = self._entries.get(key)
        if value is None:
            return None
        try:
            entry = decode_entry(value)
        except HeadwaterError as error:
            # Without the head nothing can be decided, and the event is not to blame.
            raise SchemaTooNew(f"index entry of agent {key.decode()!r}: {error}") from error
        marked = entry.checkpoint_version, entry.checkpoint_at
        agent = self._agents[key] = Tracked(key, entry.head, _chain_of(entry), *marked)
        del self._entries[key]
        return agent

    def _admit(self, agent: Tracked, change: StateChange, value: bytes, offset: int) -> None:
        admission = agent.take(change, value)
        if admission is not Admission.ADMITTED:
            self._refuse(admission, change, offset)
            return
        self._agents[agent.key] = agent
        origin = read_origin(change.kind, change.patch)
        if change.kind == "DELETE" or origin is not None:
            agent.begin_anew(offset, origin)
        elif change.patch and change.kind in PATCHING:
            agent.patches.append(change.patch)
            agent.pending_bytes += len(change.patch)
            if self._policy.looks_at_changes:
                self._look_at(agent, change.patch)
        self._pending.size_bytes += len(value)
        self._set_dirty(agent)
        if change.kind == "CHECKPOINT" and change.patch:
            self._note(agent, change)

    def _note(self, agent: Tracked, change: StateChange) -> None:
        note, head = read_note(change), agent.head
        if note is None or not head.exists:
            return
        made = {"node_id": change.node_id, "created_at": change.created_at}
        if isinstance(note, Forget):
            gone = mark(head, note.forget, CheckpointType.MANUAL.value, deleted=True, **made)
            agent.mark(gone)
        else:
            agent.mark(mark(head, note.id, note.type, **noted(note), **made))
        self._set_dirty(agent)

    def _refuse(self, admission: Admission, change: StateChange, offset: int) -> None:
        position = self._position
        self._pending.refused += 1
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
