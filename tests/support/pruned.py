"""Agents that are pruned while they live, against a real broker, and what must still be there."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from consumers.retention import Policy, Retention
from headwater.kafka import clients
from headwater.log.fold import fold, new_agent
from headwater.log.notes import Note, encode_note
from headwater.log.origin import Origin, encode_origin
from headwater.log.records import parse
from headwater.recovery import Recovery
from headwater.recovery.checkpoints import list_checkpoints
from headwater.recovery.travel import at, travel
from headwater.state.model import state_hash
from tests.support.compaction import Author
from tests.support.stage import Stage

TINY = Policy(
    history=timedelta(seconds=1),
    grace=timedelta(seconds=0.2),
    compress_after=timedelta(seconds=0.5),
    checkpoints_keep=timedelta(seconds=60),
    checkpoints_max=3,
    listed=2,
)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Timed(Author):
    """An author with a clock."""

    def raw(self, kind: str, patch: bytes = b"") -> bytes:
        """Any record that extends the head."""
        return self._written(
            self._session.record(kind, self.hash, self.sequence + 1, patch, now_ms())
        )


class Swept(Recovery):
    """Reads as if the broker had already compacted away what is buried; it takes its time."""

    buried: set[tuple[int, int]]

    def fetch(self, partition: int, offset: int) -> bytes | None:
        """The value at a place of snapshots; None where there is none."""
        return None if (partition, offset) in self.buried else super().fetch(partition, offset)

    def fetch_many(self, partition: int, offsets: Iterable[int]) -> dict[int, bytes]:
        """The values at places of snapshots; those left out where there is none."""
        left = [offset for offset in offsets if (partition, offset) not in self.buried]
        return super().fetch_many(partition, left)


class Fleet:
    """Agents that go on, a model of what they were, and readers that look back."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.rng = random.Random(seed)
        self.truth: dict[str, dict[int, tuple[bytes, int]]] = {}
        self.recovery = Swept(stage.config, stage.partitions)
        self.recovery.buried = set()
        self._agents: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._ids = 0

    def write(self, name: str, kind: str, patch: bytes = b"") -> None:
        """One record, in log and model."""
        with self._lock:
            if name not in self.stage.authors:
                author = self.stage.authors[name] = Timed(name)
                agent = self._agents[name] = new_agent(name, self.recovery.resolve)
                claim = author.claim()
                self.stage.write(name, claim)
                fold(agent, parse(name.encode(), claim))
            writer = self.stage.authors[name]
            value = writer.raw(kind, patch) if kind != "SAY" else writer.say(patch.decode())
            self.stage.write(name, value)
            agent = self._agents[name]
            before = agent.head.version
            fold(agent, parse(name.encode(), value))
            if agent.head.version > before:
                digest = state_hash(name, agent.document)
                self.truth.setdefault(name, {})[agent.head.version] = digest, now_ms()

    def step(self) -> None:
        """Something happens to some agent."""
        name = f"agent-{self.rng.randrange(5)}"
        what = self.rng.random()
        if what < 0.9:
            self.write(name, "SAY", b"x" * self.rng.randrange(1, 400))
        else:
            self._ids += 1
            kind = self.rng.choice(["automatic", "manual", "milestone"])
            self.write(name, "CHECKPOINT", encode_note(Note(id=f"cp-{self._ids}", type=kind)))

    def fork(self, name: str, new: str, version: int) -> None:
        """A new agent from an old one's past."""
        trip = travel(self.recovery, name, version)
        origin = Origin(
            agent=name,
            version=version,
            hash=None,
            state_hash=trip.recovered.state_hash,
            size=100,
            base=tuple(trip.point.base),
            patches=tuple(trip.point.patches),
        )
        self.write(new, "RESTORE", encode_origin(origin))

    @contextmanager
    def working(self, pause_s: float = 0.02) -> Iterator[None]:
        """It goes on and on, in a thread."""
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                self.step()
                time.sleep(pause_s)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(30)

    def check(self, since_ms: int, *, some: int = 4) -> int:
        """Recover whatever is promised of what was written before ``since_ms``: heads, young
        versions (the oldest, and ``some`` more of each agent), checkpoints and forks; how much
        that was.
        """
        checked = 0
        self.recovery.buried = buried(self.stage)
        for name in list(self.truth):
            versions = dict(self.truth[name])
            young = [v for v, (_, at_ms) in versions.items() if at_ms >= since_ms]
            for version in {*young[:1], *young[:: max(1, len(young) // some)], max(versions)}:
                digest = versions[version][0]
                assert at(self.recovery, name, version).state_hash == digest, (name, version)
                checked += 1
            for checkpoint in list_checkpoints(self.recovery, name):
                try:
                    found = at(self.recovery, name, checkpoint.checkpoint_id).state_hash
                except Exception as error:
                    gone = {c.checkpoint_id for c in list_checkpoints(self.recovery, name)}
                    if checkpoint.checkpoint_id in gone:
                        raise AssertionError(f"{name} {checkpoint}") from error
                    continue
                if checkpoint.version:
                    assert found == self.truth[name][checkpoint.version][0]
                checked += 1
        return checked

    def close(self) -> None:
        """Give the connections back."""
        self.recovery.close()


@contextmanager
def retention(stage: Stage, policy: Policy = TINY) -> Iterator[Retention]:
    """Retention of these topics."""
    made = Retention(stage.config, stage.partitions, policy)
    try:
        yield made
    finally:
        made.close()


def live(stage: Stage, topic: str) -> dict[bytes, tuple[int, int]]:
    """The live keys of a topic's partitions: partition and offset."""
    found: dict[bytes, tuple[int, int]] = {}
    for partition in range(stage.partitions):
        for message in stage.read(topic, partition):
            key = message.key() or b""
            if message.value() is None:
                found.pop(key, None)
            elif not key.startswith(b"!"):
                found[key] = partition, message.offset() or 0
    return found


def buried(stage: Stage) -> set[tuple[int, int]]:
    """The places of snapshots that compaction will take away."""
    kept = set(live(stage, "snapshots").values())
    everything = {
        (partition, message.offset() or 0)
        for partition in range(stage.partitions)
        for message in stage.read("snapshots", partition)
    }
    # What was written between the two is not known to be anything.
    newest = dict(sorted(kept))
    return {place for place in everything - kept if place[1] < newest.get(place[0], 0)}


def compact_at_once(stage: Stage, topic: str) -> None:
    """Have the broker compact a topic whenever a segment is closed."""
    settings = {
        "min.compaction.lag.ms": "0",
        "min.cleanable.dirty.ratio": "0.01",
        "segment.ms": "100",
    }
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = clients.admin(stage.config)
    admin.incremental_alter_configs([resource])[resource].result()
