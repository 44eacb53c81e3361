"""A partition in memory whose past is pruned, and the proof that what was promised is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from confluent_kafka import Message

from consumers.retention import Policy
from consumers.retention.agents import Hold
from consumers.retention.chains import Chain, chains_of
from consumers.retention.hold import Holder
from consumers.retention.inventory import Followed
from consumers.retention.model import Holdings, State, Stored
from consumers.retention.plan import Plan, make_plan
from headwater.errors import HeadwaterError
from headwater.log.checkpoints import decode_state
from headwater.log.fold import Admission, Agent, fold, new_agent
from headwater.log.notes import Note, encode_note
from headwater.log.origin import ALL, Base, Origin, encode_origin
from headwater.log.records import parse
from headwater.log.resolve import read_snapshot, resolver
from headwater.log.sealing import decode_snapshot
from headwater.log.snapshots import Pointer, extend_agent, extend_partly, start_agent
from headwater.state.model import new_document, state_hash
from streams.snapshots.strategy import Outweigh, Strategy
from tests.support.compaction import Author
from tests.support.rig import Rig

START_MS = 1_000_000


class Clocked(Author):
    """An author whose records bear the time."""

    clock: Shelf

    def raw(self, kind: str, patch: bytes = b"") -> bytes:
        """Any record that extends the head."""
        value = self._session.record(kind, self.hash, self.sequence + 1, patch, self.clock.now_ms)
        if kind in ("RELEASE", "DELETE"):
            self._session = self._encoder(None)
        return self._written(value)


class Shelf:
    """One partition: authors, a compactor, a clock, and retention."""

    def __init__(self, strategy: Strategy | None = None) -> None:
        self.rig = Rig(strategy or Outweigh(increments=3, least=2))
        self.now_ms = START_MS
        self.authors: dict[str, Clocked] = {}
        self.truth: dict[str, dict[int, tuple[bytes, int]]] = {}
        self.agents: dict[str, Agent] = {}
        self.written: dict[int, int] = {}
        self.marked = 0
        self.low_water = 0
        self.ids = 0
        self.followed = Followed(0, self.rig.store.fetch)
        self.attic: dict[int, tuple[str, bytes]] = {}
        self.ever: dict[str, Stored] = {}

    # What agents do.

    def write(self, name: str, kind: str, patch: bytes = b"") -> None:
        """One record of an agent, claimed before where nobody owns it."""
        author = self.authors.get(name)
        if author is None:
            author = self.authors[name] = Clocked(name)
            author.clock = self
            self._append(name, author.claim())
        self._append(name, author.raw(kind, patch))
        if kind in ("RELEASE", "DELETE"):
            self._append(name, author.claim())

    def say(self, name: str, text: str) -> None:
        """A change."""
        if name not in self.authors:
            self.write(name, "CHECKPOINT")
        author = self.authors[name]
        self._append(name, author.say(text))

    def mark(self, name: str, type_: str = "manual") -> None:
        """A checkpoint."""
        self.ids += 1
        self.write(name, "CHECKPOINT", encode_note(Note(id=f"cp-{self.ids}", type=type_)))

    def fork(self, name: str, new: str, version: int) -> None:
        """A new agent, or a new state of an old one, from what is kept of another one."""
        for chain in chains_of(self._records(name)):
            path = chain.path(version)
            if path and chain.begin is not None and self._last(chain) >= version:
                self.write(new, "RESTORE", encode_origin(self._origin(name, version, path)))
                return

    @staticmethod
    def _last(chain: Chain) -> int:
        return max(record.to_version for record in chain.records)

    def _origin(self, name: str, version: int, path: tuple[Stored, ...]) -> Origin:
        last = path[-1]
        take = ALL if last.to_version <= version else version - last.from_version
        base = tuple(
            Base(name, 0, r.offset, r.from_version, r.to_version, take if r is last else ALL)
            for r in path
        )
        digest = state_hash(name, self._walk(path, version).document)
        return Origin(agent=name, version=version, hash=None, state_hash=digest, size=1, base=base)

    def _append(self, name: str, value: bytes) -> None:
        rig, key = self.rig, name.encode()
        rig.take((key, value))
        agent = self.agents.setdefault(name, new_agent(name, resolver(rig.store.fetch)))
        before = agent.head.version
        assert fold(agent, parse(key, value)) is Admission.ADMITTED
        if agent.head.version > before:
            digest = state_hash(name, agent.document)
            self.truth.setdefault(name, {})[agent.head.version] = digest, self.now_ms
        self.written[len(rig.store.events) - 1] = self.now_ms

    # What the compactor and retention do.

    def commit(self) -> None:
        """The compactor commits, and retention gets to know of it."""
        store = self.rig.store
        known, checkpoints, index = set(store.snapshots), dict(store.checkpoints), dict(store.index)
        self.rig.commit()
        for offset in sorted(set(store.snapshots) - known):
            key, value = store.snapshots[offset]
            self.followed.take_snapshot(self._message(key.encode(), value, offset))
            self.attic[offset] = key, value
            if key in self.followed.snapshots:
                self.ever[key] = self.followed.snapshots[key]
        for name, new, old, take in (
            ("checkpoints", store.checkpoints, checkpoints, self.followed.take_checkpoint),
            ("index", store.index, index, self.followed.take_index),
        ):
            for key_, value in new.items():
                if old.get(key_) is not value:
                    self.marked += 1
                    take(self._message(key_, value, self.marked, name))

    def _message(
        self, key: bytes, value: bytes | None, offset: int, topic: str = "snapshots"
    ) -> Message:
        return Message(
            topic=topic, partition=0, offset=offset, key=key, value=value,
            timestamp=(1, self.now_ms),
        )  # fmt: skip

    def holdings(self, policy: Policy) -> Holdings:
        """What retention knows."""
        events, limit = self.rig.store.events, self.now_ms - policy.events_ms
        young = [offset for offset in range(len(events)) if self.written[offset] >= limit]
        followed = self.followed
        return Holdings(
            partition=0,
            snapshots=followed.snapshots,
            chunks=followed.chunks,
            index=followed.index(),
            checkpoints=followed.checkpoints,
            states=followed.states,
            position=followed.position,
            events_start=self.low_water,
            young=min(young, default=len(events)),
        )

    def prune(self, policy: Policy) -> Plan:
        """One pass."""
        plan = make_plan([self.holdings(policy)], policy, self.now_ms)
        holder = self._holder()
        holds = plan.partitions[0].holds
        cannot = frozenset(h.checkpoint.key for h in holds if not self._hold(holder, h))
        if cannot:
            plan = make_plan([self.holdings(policy)], policy, self.now_ms, cannot)
        (part,) = plan.partitions
        for drop in part.drops:
            for key in drop.keys:
                self._bury(drop.topic, key)
        self.low_water = part.low_water
        return plan

    def _bury(self, topic: str, key: bytes) -> None:
        store = self.rig.store
        if topic == "snapshots":
            self.compact(key.decode())
            self.followed.take_snapshot(self._message(key, None, 0))
        else:
            store.checkpoints.pop(key, None)
            self.followed.take_checkpoint(self._message(key, None, 0))

    def compact(self, key: str) -> None:
        """What a broker does to the records of a key when there is a newer one."""
        snapshots = self.rig.store.snapshots
        for offset in [offset for offset, (each, _) in snapshots.items() if each == key]:
            del snapshots[offset]

    @staticmethod
    def _hold(holder: Holder, hold: Hold) -> bool:
        if not hold.path and hold.held is None:
            return False  # that would take events, and so a broker
        holder.hold(hold)
        return True

    def _holder(self) -> Holder:
        store = self.rig.store

        def get(topic: str, partition: int, offset: int) -> Message:
            (key,) = [c.key for c in self.followed.checkpoints.values() if c.offset == offset]
            return self._message(key, store.checkpoints[key], offset)

        @contextmanager
        def lend() -> Iterator[Any]:
            yield SimpleNamespace(get=get)

        recovery: Any = SimpleNamespace(
            fetch=store.fetch,
            resolve=resolver(store.fetch),
            partition_of=lambda _: 0,
            points=SimpleNamespace(lend=lend),
            config=SimpleNamespace(topic=str),
        )
        writer: Any = _Writer(self)
        return Holder(recovery, writer, "retention")

    # The proof.

    def check(self, policy: Policy) -> int:
        """Everything that was promised can be had, and is right; how much that was.

        Of young versions those, which every snapshot that there ever was, and young events, lead
        to.
        """
        promised = 0
        index, young = self.followed.index(), self.holdings(policy).young
        for name, versions in self.truth.items():
            for version, (digest, at_ms) in versions.items():
                wanted = version == max(versions) and name in index
                if self.now_ms - at_ms < policy.history_ms:
                    wanted |= self._provable_once(name, version, young)
                if wanted:
                    promised += 1
                    assert self.provable(name, version) == digest, (name, version)
        for checkpoint in self.followed.checkpoints.values():
            promised += 1
            name, version = checkpoint.agent_id, checkpoint.version
            expected = state_hash(name, new_document())
            if version:
                expected = self.truth[name][version][0]
            assert self._checkpoint(checkpoint) == expected, checkpoint
        return promised

    def _provable_once(self, name: str, version: int, young: int) -> bool:
        store, followed, low_water = self.rig.store, self.followed, self.low_water
        snapshots, store.snapshots = store.snapshots, store.snapshots | self.attic
        records, followed.snapshots = followed.snapshots, followed.snapshots | self.ever
        self.low_water = young
        try:
            return self.provable(name, version) is not None
        finally:
            store.snapshots, followed.snapshots = snapshots, records
            self.low_water = low_water

    def _checkpoint(self, marked: Any) -> bytes | None:
        for state in self.followed.states.values():
            if (state.agent_id, state.checkpoint_id) == (marked.agent_id, marked.checkpoint_id):
                return self._held(state)
        return self.provable(marked.agent_id, marked.version)

    def _held(self, state: State) -> bytes | None:
        value = self._chunk(state.offset)
        assert value is not None
        return decode_snapshot(value, self._chunk).state_hash

    def _chunk(self, offset: int) -> bytes | None:
        return self.rig.store.fetch(0, offset)

    def provable(self, name: str, version: int) -> bytes | None:
        """The hash of an agent's state at a version, from what is left; None where it is gone."""
        for chain in chains_of(self._records(name)):
            path = chain.path(version)
            if path and version <= self._last(chain):
                return state_hash(name, self._walk(path, version).document)
        entry = self.followed.index().get(name)
        if entry is not None and entry.version == version and not entry.offsets:
            return state_hash(name, new_document())
        return self._from_events(name, version)

    def _records(self, name: str) -> list[Stored]:
        records = self.followed.snapshots.values()
        return [record for record in records if record.agent_id == name]

    def _walk(self, path: tuple[Stored, ...], version: int) -> Agent:
        store = self.rig.store
        agent: Agent | None = None
        for record in path:
            pointer = Pointer(record.offset, record.from_version, record.to_version, 0)
            snapshot = read_snapshot(store.fetch, 0, record.agent_id, pointer)
            if agent is None:
                agent = start_agent(snapshot, resolver(store.fetch))
            elif snapshot.to_version > version:
                extend_partly(agent, snapshot, version)
            else:
                extend_agent(agent, snapshot)
        assert agent is not None
        return agent

    def _from_events(self, name: str, version: int) -> bytes | None:
        resolve = resolver(self.rig.store.fetch)
        bases = [new_agent(name, resolve)]
        entry = self.followed.index().get(name)
        if entry is not None and not entry.offsets:
            bases.append(Agent(self.rig.store.entry(name).head, new_document(), 0, resolve))
        for chain in chains_of(self._records(name)):
            bases += [self._walk(path, end) for end, path in chain.steps().items() if end < version]
        for base in sorted(bases, key=lambda agent: -agent.head.version):
            try:
                found = self._replayed(base, name, version)
            except HeadwaterError:
                continue
            if found is not None:
                return found
        return None

    def _replayed(self, agent: Agent, name: str, version: int) -> bytes | None:
        if version == 0:
            return state_hash(name, agent.document)
        for message in self.rig.store.events[self.low_water :]:
            if message.key() == name.encode():
                fold(agent, parse(message.key(), message.value()))
                if agent.head.version == version:
                    return state_hash(name, agent.document)
        return None


class _Writer:
    """Writes into the shelf's store."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All at once, for nobody else is there."""
        yield

    def settle(self) -> None:
        """It is written."""

    def put(self, topic: str, _: int, key: bytes, value: bytes, written: Any = None) -> None:
        """Write one record."""
        shelf, store = self._shelf, self._shelf.rig.store
        if topic == "snapshots":
            shelf.compact(key.decode())
            store.put_snapshot(key.decode(), value, written)
            store.commit()
            offset = max(store.snapshots)
            shelf.followed.take_snapshot(shelf._message(key, value, offset))
        else:
            decode_state(value)
            store.checkpoints[key] = value
            shelf.followed.take_checkpoint(shelf._message(key, value, 0, topic))
