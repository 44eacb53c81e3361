"""The part of `failover` that kills compactors."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from confluent_kafka import TopicPartition

from benchmarks.failover_fleet import PATIENCE_S, Processes
from benchmarks.load import BEGIN, Feeder, make_chains, set_data
from headwater.config import Config
from headwater.kafka import clients
from headwater.kafka.reader import Reader
from headwater.log.sealing import decode_snapshot
from headwater.state.patch import encode_patch
from headwater.topics import DEFAULT_PARTITIONS

AGENTS = 1000
_CALM_S = 5.0
_EVERY_S = 0.5


class Traffic:
    """A change of each agent twice a second, for the length of the block."""

    def __init__(self, config: Config) -> None:
        names = (f"traffic-{n}" for n in range(AGENTS))
        self._chains = make_chains(names, config.partitions or DEFAULT_PARTITIONS, AGENTS)
        self._feeder = Feeder(config, config.topic("events"))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        chains = self._chains
        self._feeder.send([(c.partition, c.key, c.claim()) for c in chains])
        begin = encode_patch(BEGIN)
        self._feeder.send([(c.partition, c.key, c.change(begin)) for c in chains])
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(_EVERY_S):
            number += 1
            patch = set_data("number", number)
            self._feeder.send([(c.partition, c.key, c.change(patch)) for c in self._chains])


class Writers:
    """Who wrote the last snapshot of each partition, as read_committed readers see it."""

    def __init__(self, config: Config) -> None:
        topic = config.topic("snapshots")
        self.last: dict[int, str] = {}
        self._consumer = clients.consumer(config, clients.FOLLOWING, fetch_wait_max_ms=20)
        reader = Reader(config, clients.POINT_READS)
        partitions = range(config.partitions or DEFAULT_PARTITIONS)
        self._consumer.assign(
            [TopicPartition(topic, p, reader.range(topic, p)[1]) for p in partitions]
        )
        reader.close()

    def read(self) -> None:
        """Take in what has come."""
        first = self._consumer.poll(0.02)
        if first is None:
            return
        for message in (first, *self._consumer.consume(1000, 0)):
            value = message.value()
            if message.error() is None and value is not None:
                self.last[message.partition() or 0] = decode_snapshot(value).node_id

    def close(self) -> None:
        """End reading."""
        self._consumer.close()


def compactor_rounds(config: Config, scratch: Path, rounds: int) -> list[float]:
    """Seconds from the SIGKILL of one of two compactors until the other one's snapshots are read
    in each partition that was the dead one's.
    """
    found = []
    (scratch / "compactors").mkdir()
    with Processes(config, scratch / "compactors") as processes, Traffic(config):
        writers = Writers(config)
        try:
            names = ["compactor-1", "compactor-2"]
            for name in names:
                processes.start(name, "compact")
            for number in range(rounds):
                victim = names.pop(0)
                _until(writers, lambda: _has_its_share(writers, victim))  # noqa: B023
                _listen(writers, _CALM_S)
                owned = {p for p, writer in writers.last.items() if writer == victim}
                died = processes.kill(victim)
                _until(writers, lambda: all(writers.last[p] != victim for p in owned))  # noqa: B023
                found.append(time.monotonic() - died)
                names.append(f"compactor-{number + 3}")
                processes.start(names[-1], "compact")
        finally:
            writers.close()
    return found


def _has_its_share(writers: Writers, name: str) -> bool:
    owners = list(writers.last.values())
    return 0 < owners.count(name) < len(owners) == DEFAULT_PARTITIONS


def _listen(writers: Writers, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        writers.read()


def _until(writers: Writers, true: object) -> None:
    assert callable(true)
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not in {PATIENCE_S:g} s; last writers: {writers.last}")
        writers.read()
