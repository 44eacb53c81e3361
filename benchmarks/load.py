"""Seeded agents' records for the benchmarks, made by the library's own encoder, chain by chain."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from confluent_kafka import Producer

from headwater.config import Config
from headwater.kafka import clients
from headwater.log.chain import genesis_hash, next_hash, partition_of, record_digest
from headwater.log.records import Encoder
from headwater.state.patch import SET, encode_patch

START_MS = 1_700_000_000_000
_WORDS = 4096
BEGIN = ((SET, ("session_id",), "bench"), (SET, ("status",), "running"))
"""What an agent's first change has to set beside anything else, for its state to be valid."""


class Texts:
    """Seeded text that compresses about as well as notes do (lz4: to 60-70 %)."""

    def __init__(self, seed: int, pool_bytes: int = 1 << 20) -> None:
        self._random = random.Random(seed)
        letters = "etaoinshrdlucmfwypvbgkjqxz"
        words = [
            "".join(self._random.choices(letters, k=self._random.randint(2, 10)))
            for _ in range(_WORDS)
        ]
        self._pool = " ".join(self._random.choices(words, k=pool_bytes // 6))

    def take(self, size: int) -> str:
        """A text of ``size`` bytes, another one each time."""
        start = self._random.randrange(len(self._pool) - size)
        return self._pool[start : start + size]


class Chain:
    """One agent's chain of records; ``key``, ``partition``, ``hash``, ``sequence``, ``version``."""

    __slots__ = ("_encoder", "hash", "key", "partition", "sequence", "version")

    def __init__(self, agent_id: str, partitions: int, rng: random.Random) -> None:
        self._encoder = Encoder(
            agent_id=agent_id,
            epoch=1,
            nonce=rng.randbytes(16),
            session_id="bench",
            request_id=None,
            node_id="bench-node",
            incarnation=rng.randbytes(16),
            lease_ms=3000,
        )
        self.key = agent_id.encode()
        self.partition = partition_of(self.key, partitions)
        self.hash = genesis_hash(agent_id)
        self.sequence = 0
        self.version = 0

    def claim(self) -> bytes:
        """The record that takes ownership."""
        return self._extend(self._encoder.claim(START_MS))

    def change(self, patch: bytes) -> bytes:
        """A change by a packed patch."""
        self.version += 1
        sequence = self.sequence + 1
        record = self._encoder.record(
            "CHANGE", self.hash, sequence, patch, START_MS + sequence * 1000
        )
        return self._extend(record)

    def _extend(self, record: bytes) -> bytes:
        self.hash = next_hash(self.hash, record_digest(record))
        self.sequence += 1
        return record


def make_chains(names: Iterable[str], partitions: int, seed: int) -> list[Chain]:
    """A chain for each agent id."""
    rng = random.Random(seed)
    return [Chain(name, partitions, rng) for name in names]


def set_data(key: str, value: Any) -> bytes:
    """The patch that puts one value into an agent's data."""
    return encode_patch([(SET, ("data", key), value)])


Event = tuple[int, bytes, bytes]
"""Partition, key, value."""


class Feeder:
    """Produces prepared records and waits for all acknowledgements."""

    def __init__(self, config: Config, topic: str) -> None:
        self._producer: Producer = clients.producer(config, linger_ms=20)
        self._topic = topic
        self._failed = 0

    def send(self, events: Sequence[Event]) -> None:
        """Write ``events`` in their order; an error is raised, nothing is left in flight."""
        produce, poll = self._producer.produce, self._producer.poll
        for partition, key, value in events:
            while True:
                try:
                    produce(
                        self._topic, value, key, partition=partition, on_delivery=self._delivered
                    )
                    break
                except BufferError:
                    poll(0.05)
            poll(0)
        left = self._producer.flush(60)
        if left or self._failed:
            raise RuntimeError(f"{self._topic}: {self._failed} records failed, {left} are not sent")

    def _delivered(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._failed += 1
