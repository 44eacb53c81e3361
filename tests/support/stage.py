"""Topics of one test of the compactor: who writes to them, who compacts them, and the check."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Message

from headwater import Config
from headwater.kafka import clients
from headwater.kafka.reader import Reader
from headwater.log.chain import partition_of
from headwater.log.snapshots import IndexEntry, decode_entry
from headwater.topics import connect_topics
from streams.snapshots import Compactor
from streams.snapshots.store import decode_position
from tests.support.compaction import Author, check_entry, check_previous, folded
from tests.support.processes import eventually

PATIENCE_S = 60.0


class Stage:
    """Topics of a test, authors who write to them, and what a reader finds in the end."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.partitions = connect_topics(config)
        self.authors: dict[str, Author] = {}
        self._producer = clients.producer(config)
        self._reader = Reader(config, clients.SCANS)

    def author(self, name: str) -> Author:
        """The author of an agent; the first time, with a claim written."""
        if name not in self.authors:
            self.authors[name] = Author(name)
            self.write(name, self.authors[name].claim())
        return self.authors[name]

    def write(self, name: str, *values: bytes, partition: int | None = None) -> None:
        """Append values under an agent's id."""
        key = name.encode()
        where = partition_of(key, self.partitions) if partition is None else partition
        for value in values:
            self._producer.produce(self.config.topic("events"), value, key, partition=where)
        assert self._producer.flush(30) == 0

    def say(self, name: str, text: str) -> None:
        """One more change of an agent."""
        self.write(name, self.author(name).say(text))

    def read(self, topic: str, partition: int = 0) -> list[Message]:
        """All that is committed in a partition."""
        name = self.config.topic(topic)
        return [m for batch in self._reader.scan(name, partition, None) for m in batch]

    def end(self, partition: int) -> int:
        """Where a partition of events ends."""
        return self._reader.range(self.config.topic("events"), partition)[1]

    def index(self, partition: int) -> dict[bytes, bytes]:
        """The newest value of each key of the index."""
        return {m.key() or b"": m.value() or b"" for m in self.read("index", partition)}

    def position(self, partition: int) -> int:
        """How far the compactor says that it is."""
        value = self.index(partition).get(b"!partition")
        return decode_position(value).next_offset if value else 0

    def entry(self, name: str) -> IndexEntry | None:
        """An agent's index entry, if there is one yet."""
        key = name.encode()
        value = self.index(partition_of(key, self.partitions)).get(key)
        return decode_entry(value) if value else None

    def await_end(self, *partitions: int) -> None:
        """Wait until everything written is committed."""
        for p in partitions or range(self.partitions):
            end = self.end(p)
            eventually(
                lambda p=p, end=end: self.position(p) >= end,  # type: ignore[misc]
                PATIENCE_S,
                f"position {end} in partition {p}",
                step_s=0.1,
            )

    def check(self) -> None:
        """Index, snapshots and position are the fold of the log up to the position."""
        for p in range(self.partitions):
            self._check(p)

    def _check(self, partition: int) -> None:
        index = self.index(partition)
        position = index.get(b"!partition")
        until = decode_position(position).next_offset if position else 0
        events = self.read("events", partition)
        own = [m for m in events if partition_of(m.key() or b"", self.partitions) == partition]
        truth = folded(own, until)
        entries = {k.decode(): decode_entry(v) for k, v in index.items() if k[:1] != b"!"}
        assert entries.keys() == truth.keys()
        values = {m.offset(): m.value() for m in self.read("snapshots", partition)}

        def fetch(other: int, offset: int) -> bytes | None:
            assert other == partition
            return values.get(offset)

        for name, entry in entries.items():
            check_entry(entry, truth[name], fetch, partition)
            check_previous(entry, fetch, partition)

    def close(self) -> None:
        """Give the connections back."""
        self._reader.close()


@contextmanager
def compacting(config: Config, **settings: Any) -> Iterator[Compactor]:
    """An instance in a thread of this process, stopped in order at the end."""
    compactor = Compactor(config.with_(node_id=f"c-{secrets.token_hex(2)}"), **settings)
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            compactor.run(stop)
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield compactor
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
    assert not failures


@contextmanager
def writing(stage: Stage, rng: random.Random, pause_s: float = 0.004) -> Iterator[list[int]]:
    """Twelve agents that go on and on, in a thread: changes, releases and deletes."""
    stop, counter = threading.Event(), [0]

    def work() -> None:
        while not stop.is_set():
            counter[0] += 1
            name = f"agent-{rng.randrange(12)}"
            author = stage.author(name)
            kind = rng.choice(["say"] * 20 + ["RELEASE", "DELETE"])
            if kind == "say":
                stage.say(name, "x" * rng.randrange(1, 1200))
            else:
                stage.write(name, author.raw(kind), author.claim())
            time.sleep(pause_s)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield counter
    finally:
        stop.set()
        thread.join(30)
