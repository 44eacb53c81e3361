"""Replays all events through the fold, and holds snapshots and recovery to the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from confluent_kafka import Message

from headwater.errors import HeadwaterError, SchemaTooNew, UndecodableRecord
from headwater.log.fold import Agent, Head, new_agent
from headwater.log.records import parse
from headwater.log.snapshots import PROOF_ERRORS, IndexEntry, Snapshot, prove_chain
from headwater.recovery.bulk import decode_chain, read_chains, recover_partition
from headwater.recovery.model import Failed, Recovered
from headwater.recovery.recover import Recovery
from headwater.recovery.replay import UNDECODABLE, Start, start_of
from headwater.recovery.replay import take as fold_one
from headwater.state.model import state_hash

OnProgress = Callable[[int, int], None]
"""Called with the partition that is being replayed and how many records of it are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a replay says of one agent.

    ``from_version`` is where the replay started: 0 at the agent's first record, else the version
    of the snapshot that replaces deleted events. ``outcomes`` counts its records by outcome, as
    in :class:`~headwater.recovery.replay.Entry`; ``snapshots`` those compared with the replay.
    ``problems`` is empty when all agree. Hashes are the replay's, 32 bytes.
    """

    agent_id: str
    partition: int
    version: int
    from_version: int
    outcomes: dict[str, int]
    snapshots: int
    head_hash: bytes
    state_hash: bytes
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether replay, snapshots and recovery agree."""
        return not self.problems


@dataclass(slots=True)
class _Milestone:
    """A head that the replay must come by, and what it must find there."""

    name: str
    hash: bytes
    version: int
    events_offset: int | None = None
    state_hash: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recovery:
    """What recovery gave for an agent, its state reduced to the hash."""

    head: Head
    state_hash: bytes
    inapplicable: int
    next_offset: int
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Replay:
    """One agent while its partition is replayed."""

    start: Start
    from_version: int = 0
    broken: bool = False
    snapshots: int = 0
    milestones: list[_Milestone] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Compare with the milestones that have just been reached."""
        agent = self.start.agent
        while self.milestones and self.milestones[0].hash == agent.head.hash:
            found = self.milestones.pop(0)
            self.snapshots += found.events_offset is not None
            if found.version != agent.head.version:
                self.problems.append(
                    f"{found.name} says version {found.version}, replay {agent.head.version}"
                )
            if found.state_hash not in (None, state_hash(agent.head.agent_id, agent.document)):
                self.problems.append(f"{found.name} holds another state than the replay")

    def take(self, message: Message) -> None:
        """Fold one record."""
        offset = message.offset() or 0
        if self.broken or offset < self.start.offset:
            return
        while self.milestones and _passed(self.milestones[0], offset):
            self.problems.append(_never(self.milestones.pop(0)))
        try:
            change = parse(message.key(), message.value())
        except UndecodableRecord:
            self.outcomes[UNDECODABLE] += 1
            return
        except SchemaTooNew as error:
            self.problems.append(f"offset {offset}: {error}")
            self.broken = True
            return
        self.outcomes[fold_one(self.start.agent, change)] += 1
        self.look()


def _passed(milestone: _Milestone, offset: int) -> bool:
    return milestone.events_offset is not None and milestone.events_offset <= offset


def _never(milestone: _Milestone) -> str:
    return f"{milestone.name} leads to a head that the events do not lead to"


def verify(
    recovery: Recovery,
    agent_ids: Iterable[str] | None = None,
    on_progress: OnProgress = lambda partition, records: None,
) -> Iterator[Verified | Failed]:
    """Each of ``agent_ids`` (None: all that exist), partition by partition.

    Reads each partition once from its first event on, and its snapshots and index twice; keeps
    the states of one partition's agents in memory. A :class:`Failed` is an agent that the log
    does not know.
    """
    for number, keys in recovery.by_partition(agent_ids):
        yield from _Partition(recovery, number, keys, on_progress).verify()


class _Partition:
    """The verification of one partition."""

    def __init__(
        self,
        recovery: Recovery,
        number: int,
        wanted: set[bytes] | None,
        on_progress: OnProgress,
    ) -> None:
        self._recovery = recovery
        self._number = number
        self._wanted = wanted
        self._on_progress = on_progress
        self._events = recovery.config.topic("events")
        self._first = 0
        self._entries: dict[bytes, IndexEntry] = {}
        self._milestones: dict[bytes, list[_Milestone]] = {}
        self._problems: dict[bytes, list[str]] = {}
        self._replays: dict[bytes, _Replay] = {}

    def verify(self) -> Iterator[Verified | Failed]:
        """The agents of this partition, in the order of their ids."""
        # In this order: whatever the index names now lies before the end that is read next, and
        # recoveries read at least up to that end.
        self._read_index()
        with self._recovery.scans.lend() as reader:
            self._first, end = reader.range(self._events, self._number)
        self._read_chains()
        recoveries = {
            each.agent_id.encode(): _without_state(each)
            for each in recover_partition(self._recovery, self._number, self._wanted)
        }
        self._replay(recoveries, end)
        for key in sorted(self._replays.keys() | recoveries.keys()):
            yield from self._judge(key, recoveries.get(key))

    def _read_index(self) -> None:
        index = self._recovery.index(self._number)
        for key in index.entries if self._wanted is None else self._wanted:
            entry = index.entry(key)
            if entry is not None:
                self._entries[key] = entry

    def _read_chains(self) -> None:
        chained = {key: entry for key, entry in self._entries.items() if entry.snapshots}
        for key, values, entry in read_chains(self._recovery, self._number, chained):
            try:
                chain = decode_chain(self._recovery, self._number, entry, values)
                self._milestones[key] = [_milestone(snapshot) for snapshot in chain]
                prove_chain(chain, entry, self._recovery.resolve)
            except PROOF_ERRORS as error:
                self._problems.setdefault(key, []).append(str(error))
        for key, entry in self._entries.items():
            head = _Milestone("the index entry", entry.head.hash, entry.head.version)
            self._milestones.setdefault(key, []).append(head)

    def _replay(self, recoveries: dict[bytes, _Recovery | Failed], end: int) -> None:
        ends = {
            key: found.next_offset
            for key, found in recoveries.items()
            if isinstance(found, _Recovery)
        }
        records = 0
        with self._recovery.scans.lend() as reader:
            until = max(end, *ends.values(), 0)
            for batch in reader.scan(self._events, self._number, None, until) if until else ():
                for message in batch:
                    key = message.key()
                    if key is None or (self._wanted is not None and key not in self._wanted):
                        continue
                    if (message.offset() or 0) < ends.get(key, end):
                        self._one(key).take(message)
                records += len(batch)
                self._on_progress(self._number, records)
        for key in ends:
            self._one(key)

    def _one(self, key: bytes) -> _Replay:
        replay = self._replays.get(key)
        if replay is None:
            replay = self._replays[key] = self._begin(key)
        return replay

    def _begin(self, key: bytes) -> _Replay:
        agent_id, entry = key.decode(errors="replace"), self._entries.get(key)
        try:
            start = start_of(self._recovery, self._number, agent_id, first=self._first, entry=entry)
        except HeadwaterError as error:
            return _Replay(
                Start(new_agent(agent_id, self._recovery.resolve)),
                broken=True,
                problems=[str(error)],
            )
        reached = start.agent.head.version
        replay = _Replay(
            start,
            from_version=reached,
            # To those before it no event leads; that they lead to it is proved with their chain.
            milestones=[
                each
                for each in self._milestones.pop(key, [])
                if each.events_offset is None or each.version >= reached
            ],
            problems=self._problems.pop(key, []),
        )
        replay.look()
        return replay

    def _judge(self, key: bytes, found: _Recovery | Failed | None) -> Iterator[Verified | Failed]:
        replay = self._replays.get(key)
        if replay is None or not (replay.start.agent.head.exists or replay.problems):
            if isinstance(found, Failed):
                yield found
            if not isinstance(found, _Recovery):
                return
        assert replay is not None
        agent = replay.start.agent
        replay.problems += map(_never, replay.milestones)
        replayed = state_hash(agent.head.agent_id, agent.document)
        if isinstance(found, _Recovery):
            replay.problems += _differences(found, agent, replayed)
        elif found is not None:
            replay.problems.append(f"recovery failed: {found.error}")
        elif agent.head.exists:
            replay.problems.append("recovery does not know it, though its events do")
        yield Verified(
            agent_id=agent.head.agent_id,
            partition=self._number,
            version=agent.head.version,
            from_version=replay.from_version,
            outcomes=dict(replay.outcomes),
            snapshots=replay.snapshots,
            head_hash=agent.head.hash,
            state_hash=replayed,
            problems=tuple(replay.problems),
            warnings=found.warnings if isinstance(found, _Recovery) else (),
        )


def _without_state(found: Recovered | Failed) -> _Recovery | Failed:
    if isinstance(found, Failed):
        return found
    return _Recovery(
        head=found.head,
        state_hash=found.state_hash,
        inapplicable=found.inapplicable,
        next_offset=found.next_offset,
        warnings=found.warnings,
    )


def _milestone(snapshot: Snapshot) -> _Milestone:
    return _Milestone(
        f"snapshot {snapshot.from_version}-{snapshot.to_version}",
        snapshot.to_hash,
        snapshot.to_version,
        snapshot.events_offset,
        snapshot.state_hash,
    )


def _differences(found: _Recovery, agent: Agent, replayed: bytes) -> Iterator[str]:
    head = agent.head
    if found.head.hash != head.hash:
        yield (
            f"recovery leads to head {found.head.hash.hex()[:12]} (version {found.head.version}), "
            f"replay to {head.hash.hex()[:12]} (version {head.version})"
        )
    if found.state_hash != replayed:
        yield (f"recovery gives state {found.state_hash.hex()[:12]}, replay {replayed.hex()[:12]}")
    if found.inapplicable != agent.inapplicable:
        yield (
            f"recovery counts {found.inapplicable} changes that were not applicable, "
            f"replay {agent.inapplicable}"
        )
