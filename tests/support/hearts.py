"""Heartbeats of nodes that are not there, written by the test itself."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from headwater import Config
from headwater.agent.lease import heartbeat_partition
from headwater.clock import wall_ms
from headwater.fleet.feed import Feed, decoded
from headwater.fleet.records import AuditRecord, FailureEvent, Heartbeat, NodeMode
from headwater.kafka import clients
from tests.support.processes import eventually

PATIENCE_S = 20.0


class Heart:
    """Beats for some nodes, at the profile's interval. ``says[node_id]`` is what is in each beat
    beside the usual; ``silent`` has those that do not beat.
    """

    def __init__(self, config: Config, *node_ids: str) -> None:
        self.config = config
        self.says: dict[str, dict[str, Any]] = {node_id: {} for node_id in node_ids}
        self.silent: set[str] = set()
        self.last_s: dict[str, float] = {}
        self._incarnations = {node_id: secrets.token_bytes(16) for node_id in node_ids}
        self._sequences = dict.fromkeys(node_ids, 0)
        self._producer = clients.producer(config, linger_ms=0)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def incarnation(self, node_id: str) -> bytes:
        """The process that beats under that name."""
        return self._incarnations[node_id]

    def sequence(self, node_id: str) -> int:
        """Of its last beat."""
        return self._sequences[node_id]

    def restart(self, node_id: str) -> None:
        """The node is another process from now on."""
        with self._lock:
            self._incarnations[node_id] = secrets.token_bytes(16)
            self._sequences[node_id] = 0
            self.silent.discard(node_id)

    def kill(self, node_id: str) -> float:
        """No more beats; when the last one was sent, by the monotonic clock."""
        with self._lock:
            self.silent.add(node_id)
            return self.last_s[node_id]

    def beat(self, node_id: str) -> None:
        """One beat now."""
        self._sequences[node_id] += 1
        record = Heartbeat(
            node_id=node_id,
            incarnation=self._incarnations[node_id],
            sequence=self._sequences[node_id],
            lease_ms=self.config.timing.lease_ms,
            sent_at=wall_ms(),
            mode=NodeMode.RUNNING,
            address="127.0.0.1:1",
        )
        record = msgspec.structs.replace(record, **self.says[node_id])
        topic, partition = self.config.topic("heartbeats"), heartbeat_partition(node_id)
        self._producer.produce(topic, record.encode(), node_id.encode(), partition)
        self.last_s[node_id] = time.monotonic()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                for node_id in self._incarnations:
                    if node_id not in self.silent:
                        self.beat(node_id)
            self._producer.poll(0)
            self._stop.wait(self.config.timing.heartbeat.total_seconds())

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()
        eventually(lambda: len(self.last_s) == len(self.says), 5, "the first beats")

    def stop(self) -> None:
        """Beat no more."""
        self._stop.set()
        self._thread.join()
        self._producer.flush(1)


@contextlib.contextmanager
def beating(config: Config, *node_ids: str) -> Iterator[Heart]:
    """Nodes that beat for the length of the block."""
    heart = Heart(config, *node_ids)
    heart.start()
    try:
        yield heart
    finally:
        heart.stop()


class Reports:
    """What detectors have reported so far."""

    def __init__(self, config: Config) -> None:
        self._failures = Feed(config, "recovery")
        self._audit = Feed(config, "audit")
        self.failures: list[FailureEvent] = []
        self.audit: list[AuditRecord] = []

    def read(self) -> None:
        """Take in what has come."""
        failures = [decoded(FailureEvent, m) for m in self._failures.read(0.02)]
        self.failures += [event for event in failures if event is not None]
        audit = [decoded(AuditRecord, m) for m in self._audit.read(0)]
        self.audit += [record for record in audit if record is not None]

    def of(self, component: str, *, resolved: bool | None = None) -> list[FailureEvent]:
        """What was said of a component."""
        self.read()
        return [
            e for e in self.failures if e.component == component and resolved in (None, e.resolved)
        ]

    def wait(self, component: str, *, resolved: bool = False, count: int = 1) -> FailureEvent:
        """The last of ``count`` records of it."""
        eventually(
            lambda: len(self.of(component, resolved=resolved)) >= count,
            PATIENCE_S,
            f"{component} {'resolved' if resolved else 'failed'}: {self.failures}",
            step_s=0.0,
        )
        return self.of(component, resolved=resolved)[count - 1]

    def close(self) -> None:
        """Stop following."""
        self._failures.close()
        self._audit.close()
