"""A workload under faults: workers, compactors, and the check of all that they left behind."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient

import headwater
from headwater import Client, Config
from headwater.kafka import clients
from headwater.kafka.reader import ReaderPool
from headwater.local import LocalKafka
from headwater.log.chain import partition_of
from headwater.recovery.index import read_index
from tests.support.history import Record, all_violations
from tests.support.processes import Program, Programs, eventually, programs

PATIENCE_S = 60.0


def spread(count: int, partitions: int = 4) -> list[str]:
    """Agents of which every partition has equally many, give or take one."""
    names = (f"agent-{i}" for i in itertools.count())
    by_partition: dict[int, list[str]] = {p: [] for p in range(partitions)}
    while sum(map(len, by_partition.values())) < count or not all(by_partition.values()):
        name = next(names)
        own = by_partition[partition_of(name.encode(), partitions)]
        if len(own) < -(-count // partitions):
            own.append(name)
    return [name for own in by_partition.values() for name in own]


class Fleet:
    """Agents in worker processes, compactors, and the brokers beneath."""

    def __init__(self, config: Config, started: Programs, partitions: int) -> None:
        self.config = config
        self.programs = started
        self.partitions = partitions
        self.agents: set[str] = set()
        self._record = Record()

    def worker(self, name: str, agents: Iterable[str], env: dict[str, str] | None = None,
               **task: Any) -> Program:  # fmt: skip
        """Start a worker; ``task`` as in :class:`tests.support.worker.Task`."""
        names = list(agents)
        self.agents.update(names)
        notes = str(self.programs.directory / f"{name}.notes")
        whole = {"notes": notes, "agents": names, **task}
        return self.programs.start(name, "tests.support.worker", whole, **(env or {}))

    def compactor(self, name: str = "compactor", *, commit_ms: str = "250", **env: str) -> Program:
        """Start an instance of the compactor."""
        return self.programs.compactor(name, commit_ms=commit_ms, **env)

    @property
    def record(self) -> Record:
        """What the workers noted so far."""
        return self._record.read(self.programs.directory)

    def await_acks(self, agents: Iterable[str], count: int = 1) -> float:
        """Wait until each of the agents has ``count`` acknowledged changes more than now."""
        before, names = self._acked(), list(agents)

        def enough() -> bool:
            now = self._acked()
            return all(now.get(a, 0) >= before.get(a, 0) + count for a in names)

        try:
            what = f"{count} acknowledged changes more on each agent"
            return eventually(enough, PATIENCE_S, what, step_s=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tails()}") from None

    def _acked(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for (agent, _), n in self.record.acked.items():
            total[agent] = total.get(agent, 0) + n
        return total

    def await_compacted(self) -> None:
        """Wait until the compactors' position is the end of the log, in every partition."""
        try:
            await_compacted(self.config, self.partitions)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tails()}") from None

    def violations(self, client: Client | None = None) -> list[str]:
        """Recover every agent, all at once and one by one, and hold them against the record."""
        record = self.record
        assert record.acks, f"the workload did nothing\n{self.tails()}"
        if client is None:
            with headwater.connect(self.config) as own:
                return self.violations(own)
        wrong = all_violations(record, client.recover_many(), self.agents)
        some = sorted(self.agents)[:5]
        singles = (client.recover(a) for a in some if record.acked_by(a))
        return wrong + all_violations(record, singles, some)

    def check(self) -> None:
        """Fail the test if any promise was broken."""
        wrong = self.violations()
        assert not wrong, "\n".join([*wrong[:10], self.tails()])

    def leader(self, agent: str) -> int:
        """The broker that leads the partition of an agent's events."""
        topic = self.config.topic("events")
        metadata = self._admin().list_topics(topic, timeout=20).topics[topic]
        return int(metadata.partitions[partition_of(agent.encode(), self.partitions)].leader)

    def await_in_sync(self, brokers: int = 3) -> None:
        """Wait until every partition of ours has that many replicas in sync."""
        admin = self._admin()

        def in_sync() -> bool:
            topics = admin.list_topics(timeout=20).topics.values()
            return all(len(p.isrs) >= brokers for t in topics for p in t.partitions.values())

        eventually(in_sync, PATIENCE_S, "all replicas are in sync", step_s=0.1)

    def _admin(self) -> AdminClient:
        return clients.admin(self.config)

    def tails(self) -> str:
        """The end of what each program said."""
        logs = sorted(self.programs.directory.glob("*.log"))
        texts = ((log.name, log.read_text(errors="replace").splitlines()[-8:]) for log in logs)
        return "\n".join(f"--- {name}\n" + "\n".join(lines) for name, lines in texts)


def await_compacted(config: Config, partitions: int) -> None:
    """Wait until the compactors' position is the end of the log, in every partition."""
    pool = ReaderPool(config, clients.SCANS)
    topic = config.topic("events")
    try:
        for partition in range(partitions):
            with pool.lend() as reader:
                end = reader.range(topic, partition)[1]

            def compacted(partition: int = partition, end: int = end) -> bool:
                return read_index(config, pool, partition).next_offset >= end

            what = f"events[{partition}] is compacted up to {end}"
            eventually(compacted, PATIENCE_S, what, step_s=0.1)
    finally:
        pool.close()


@contextmanager
def fleet_on(kafka: LocalKafka, config: Config, directory: Path) -> Iterator[Fleet]:
    """A fleet with topics of its own; its processes end with the block."""
    with headwater.connect(config) as client:
        partitions = client.partitions
    with programs(config, directory) as started:
        yield Fleet(config, started, partitions)
