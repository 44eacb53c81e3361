"""Many agents that nobody owns, changed by one producer: load at little cost."""

from __future__ import annotations

import threading
import time

from headwater import Config
from headwater.kafka import clients
from headwater.log.chain import genesis_hash, next_hash, partition_of, record_digest
from headwater.log.records import Encoder
from headwater.state.diff import diff
from headwater.state.model import new_document
from headwater.state.patch import encode_patch


class Flood:
    """One change of each of ``agents`` agents in every round, a round each ``interval_s``."""

    def __init__(self, config: Config, partitions: int, agents: int, interval_s: float) -> None:
        self._topic = config.topic("events")
        self._producer = clients.producer(config)
        self._partitions = partitions
        self._interval_s = interval_s
        names = [f"flood-{i}" for i in range(agents)]
        self._heads = {name: genesis_hash(name) for name in names}
        self._encoders = {name: _encoder(name) for name in names}
        self._rounds = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._producer.flush(20)

    def _run(self) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            self._round()
            self._stop.wait(max(0.0, self._interval_s - (time.monotonic() - started)))

    def _round(self) -> None:
        self._rounds += 1
        before = new_document()
        after = before | {"session_id": "flood", "step": self._rounds}
        patch = encode_patch(diff(before, after))
        for name, head in self._heads.items():
            value = self._encoders[name].record("CHANGE", head, self._rounds, patch, 0)
            key = name.encode()
            partition = partition_of(key, self._partitions)
            self._producer.produce(self._topic, value, key, partition)
            self._heads[name] = next_hash(head, record_digest(value))
            self._producer.poll(0)


def _encoder(name: str) -> Encoder:
    return Encoder(
        agent_id=name, epoch=0, nonce=None, session_id="flood", request_id=None,
        node_id="flood", incarnation=bytes(16), lease_ms=0,
    )  # fmt: skip
