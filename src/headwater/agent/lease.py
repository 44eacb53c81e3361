"""The process's lease, kept by heartbeats: how long others must leave its agents alone.

Lease time runs from *sending* the last acknowledged heartbeat, and an acknowledgement that comes
after the lease has run out does not revive it. A claimer waits a whole lease after *reading* a
heartbeat, and has seen by a record of its own that it read them all; so while the owner holds a
lease, nobody can have decided to claim. Once it has lapsed a new *generation* begins: agents that
were claimed in an older one must be claimed again, at a new epoch, before an acknowledgement
alone counts again. That also fences claims that were decided during the gap and are still on
their way (docs/decisions/0002).
"""

from __future__ import annotations

import logging
import secrets
import threading
from typing import NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from headwater.clock import Clock, suspended_clock, wall_ms
from headwater.config import Config
from headwater.errors import Unavailable
from headwater.kafka import clients
from headwater.kafka.errors import to_headwater
from headwater.log.chain import partition_of
from headwater.sabotage import NO_LEASE_CHECK, active
from headwater.topics import HEARTBEATS
from headwater.wire import codec

log = logging.getLogger("headwater.lease")

INCARNATION_BYTES = 16


class Term(NamedTuple):
    """What the lease allows: agents claimed in ``generation``, until ``until_s``."""

    generation: int
    until_s: float


class LeaseClock:
    """The lease's arithmetic, without Kafka."""

    def __init__(self, lease_s: float, clock: Clock = suspended_clock) -> None:
        self._lease_s = lease_s
        self._clock = clock
        self._lock = threading.Lock()
        self.term = Term(0, float("-inf"))

    def now(self) -> float:
        """Seconds, on the lease's clock."""
        return self._clock()

    def acknowledged(self, sent_s: float) -> None:
        """A heartbeat that was sent at ``sent_s`` was acknowledged now."""
        with self._lock:
            generation, until_s = self.term
            if self._clock() >= until_s:
                generation += 1
            if sent_s + self._lease_s > self._clock():
                self.term = Term(generation, max(until_s, sent_s + self._lease_s))

    def holds(self, generation: int) -> bool:
        """Whether the lease has held from when ``generation`` began until now."""
        term = self.term
        return term.generation == generation and self._clock() < term.until_s


class Lease:
    """Keeps the lease with a thread that sends heartbeats; also sends claims and probes."""

    def __init__(self, config: Config, clock: Clock = suspended_clock) -> None:
        self.config = config
        self.node_id = config.node_id
        self.incarnation = secrets.token_bytes(INCARNATION_BYTES)
        self.lease_ms = config.timing.lease_ms
        self.clock = LeaseClock(self.lease_ms / 1000, clock)
        self._topic = config.topic("heartbeats")
        self._partition = heartbeat_partition(self.node_id)
        self._sequence = 0
        self._unchecked = NO_LEASE_CHECK in active()
        self._first = threading.Event()
        self._stop = threading.Event()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        # Its own client: a backlog of changes must not hold a heartbeat up. One that is not
        # delivered within a lease is worth nothing.
        self._producer: Producer = clients.producer(
            config, linger_ms=0, message_timeout_ms=max(self.lease_ms, 1000)
        )
        self._claims: Producer = clients.producer(config, linger_ms=0)

    def start(self) -> int:
        """Start the heartbeats if they are not running, and wait until the lease holds.

        Returns its generation; raises :class:`Unavailable` if none was acknowledged in time.
        """
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="headwater-heartbeat", daemon=True
                )
                self._thread.start()
        deadline = self.clock.now() + self.config.send_timeout.total_seconds()
        while not self.clock.holds(self.clock.term.generation):
            left = deadline - self.clock.now()
            if left <= 0:
                raise Unavailable(
                    "no heartbeat was acknowledged in "
                    f"{self.config.send_timeout.total_seconds():g} s; try again"
                )
            self._first.clear()
            self._first.wait(min(left, 0.05))
        return self.clock.term.generation

    def holds(self, generation: int) -> bool:
        """Whether agents claimed in ``generation`` are still this process's alone."""
        return self.clock.holds(generation) or self._unchecked

    def stop(self) -> None:
        """Send no more heartbeats; the lease runs out by itself."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._producer.flush(0.1)
        self._claims.flush(0.1)

    def send_claim(self, partition: int, key: bytes, value: bytes) -> int:
        """Write a claim and return its offset once it is acknowledged."""
        return self._send(self.config.topic("events"), partition, key, value)

    def send_probe(self, partition: int) -> int:
        """Write a probe to a heartbeats partition and return its offset."""
        return self._send(self._topic, partition, self.node_id.encode(), self._heartbeat("PROBE"))

    def _send(self, topic: str, partition: int, key: bytes, value: bytes) -> int:
        done = threading.Event()
        outcome: list[tuple[KafkaError | None, int]] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            outcome.append((error, message.offset() or 0))
            done.set()

        self._claims.produce(topic, value, key, partition, delivered)
        while not done.is_set():
            self._claims.poll(0.01)
        error, offset = outcome[0]
        if error is not None:
            raise to_headwater(error, f"writing to {topic}")
        return offset

    def _heartbeat(self, kind: str) -> bytes:
        return codec("Heartbeat").encode(
            {
                "node_id": self.node_id,
                "incarnation": self.incarnation,
                "kind": kind,
                "sequence": self._sequence,
                "lease_ms": self.lease_ms,
                "sent_at": wall_ms(),
            }
        )

    def _run(self) -> None:
        interval_s = self.config.timing.heartbeat.total_seconds()
        next_s = self.clock.now()
        while not self._stop.is_set():
            if self.clock.now() >= next_s:
                next_s = self.clock.now() + interval_s
                self._beat()
            self._producer.poll(max(0.0, min(0.05, next_s - self.clock.now())))

    def _beat(self) -> None:
        self._sequence += 1
        sent_s = self.clock.now()

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                log.warning("heartbeat not acknowledged: %s", error.str())
                return
            self.clock.acknowledged(sent_s)
            self._first.set()

        value = self._heartbeat("BEAT")
        try:
            self._producer.produce(
                self._topic, value, self.node_id.encode(), self._partition, delivered
            )
        except BufferError:
            log.warning("heartbeat not sent: the send buffer is full")


def heartbeat_partition(node_id: str) -> int:
    """The partition of the heartbeats topic that holds a node's."""
    return partition_of(node_id.encode(), HEARTBEATS.partitions or 1)
