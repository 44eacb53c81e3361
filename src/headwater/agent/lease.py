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
import math
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from headwater.clock import Clock, suspended_clock, wall_ms
from headwater.config import Config
from headwater.errors import HeadwaterError, Unavailable
from headwater.kafka import clients
from headwater.kafka.errors import to_headwater
from headwater.log.chain import partition_of
from headwater.sabotage import NO_LEASE_CHECK, active
from headwater.topics import HEARTBEATS
from headwater.wire import codec

log = logging.getLogger("headwater.lease")

INCARNATION_BYTES = 16
_STRAIN = 0.25
_LINGER_MS = 20


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
        self.report: Callable[[], Mapping[str, Any]] | None = None
        """What each heartbeat says beside its own, as the schema's fields; asked by its thread."""
        self.may_beat: Callable[[], bool] = lambda: True
        """A process that cannot obey any more must not keep its agents: it stops beating."""
        self.round_trip_s: float | None = None
        """How long the last acknowledged heartbeat took."""
        self.incarnation = secrets.token_bytes(INCARNATION_BYTES)
        self.lease_ms = config.timing.lease_ms
        self.clock = LeaseClock(self.lease_ms / 1000, clock)
        self._topic = config.topic("heartbeats")
        self._partition = heartbeat_partition(self.node_id)
        self._sequence = 0
        self._waiting: list[float] = []
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
        # Many go as few requests, one for each partition: they linger until all are handed over.
        self._claims: Producer = clients.producer(config, linger_ms=_LINGER_MS)
        self._search = clients.LeaderSearch(self._claims)

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

    @property
    def strained(self) -> bool:
        """Whether heartbeats take so long that the lease is in danger: whoever makes work for the
        brokers, or for this process, had better wait.
        """
        slowest_s = self.clock.now() - min(tuple(self._waiting), default=math.inf)
        return max(slowest_s, self.round_trip_s or 0.0) > self.lease_ms / 1000 * _STRAIN

    def stop(self) -> None:
        """Send no more heartbeats; the lease runs out by itself."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._producer.flush(0.1)
        self._claims.flush(0.1)

    def doubt_leaders(self) -> None:
        """Partitions may have new leaders: ask before claims go to those that are known."""
        self._search.ask(self.config.topic("events"))

    def send_claim(self, partition: int, key: bytes, value: bytes) -> int:
        """Write a claim and return its offset once it is acknowledged."""
        return self._send(self.config.topic("events"), partition, key, value)

    def send_claims(self, claims: Iterable[tuple[int, bytes, bytes]]) -> list[int | HeadwaterError]:
        """Write claims, as (partition, key, value), all on their way together; for each its offset
        once it is acknowledged, or what it met with.
        """
        topic = self.config.topic("events")
        return [
            to_headwater(error, f"writing to {topic}") if error is not None else offset
            for error, offset in self._send_all(topic, claims)
        ]

    def send_probe(self, partition: int) -> int:
        """Write a probe to a heartbeats partition and return its offset."""
        return self._send(self._topic, partition, self.node_id.encode(), self._heartbeat("PROBE"))

    def _send(self, topic: str, partition: int, key: bytes, value: bytes) -> int:
        ((error, offset),) = self._send_all(topic, [(partition, key, value)])
        if error is not None:
            raise to_headwater(error, f"writing to {topic}")
        return offset

    def _send_all(
        self, topic: str, records: Iterable[tuple[int, bytes, bytes]]
    ) -> list[tuple[KafkaError | None, int]]:
        outcomes: dict[int, tuple[KafkaError | None, int]] = {}

        def delivered(number: int, error: KafkaError | None, message: Message) -> None:
            outcomes[number] = (error, message.offset() or 0)

        count = 0
        for count, (partition, key, value) in enumerate(records, 1):
            self._claims.produce(topic, value, key, partition, partial(delivered, count))
        began_s = self.clock.now()
        while len(outcomes) < count:
            self._claims.flush(0.01)
            self._search.waited(topic, self.clock.now() - began_s)
        return [outcomes[number] for number in range(1, count + 1)]

    def _heartbeat(self, kind: str) -> bytes:
        said = self.report() if kind == "BEAT" and self.report is not None else {}
        return codec("Heartbeat").encode(
            {
                "node_id": self.node_id,
                "incarnation": self.incarnation,
                "kind": kind,
                "sequence": self._sequence,
                "lease_ms": self.lease_ms,
                "sent_at": wall_ms(),
                **said,
            }
        )

    def _run(self) -> None:
        interval_s = self.config.timing.heartbeat.total_seconds()
        next_s = self.clock.now()
        search = clients.LeaderSearch(self._producer)
        while not self._stop.is_set():
            if self.clock.now() >= next_s and self.may_beat():
                next_s = self.clock.now() + interval_s
                self._beat()
            self._producer.poll(max(0.005, min(0.05, next_s - self.clock.now())))
            search.waited(self._topic, self.clock.now() - min(self._waiting, default=math.inf))

    def _beat(self) -> None:
        self._sequence += 1
        sent_s = self.clock.now()

        def delivered(error: KafkaError | None, _: Message) -> None:
            self._waiting.remove(sent_s)
            if error is not None:
                log.warning("heartbeat not acknowledged: %s", error.str())
                return
            self.clock.acknowledged(sent_s)
            self.round_trip_s = self.clock.now() - sent_s
            self._first.set()

        value = self._heartbeat("BEAT")
        try:
            self._producer.produce(
                self._topic, value, self.node_id.encode(), self._partition, delivered
            )
            self._waiting.append(sent_s)
        except BufferError:
            log.warning("heartbeat not sent: the send buffer is full")


def heartbeat_partition(node_id: str) -> int:
    """The partition of the heartbeats topic that holds a node's."""
    return partition_of(node_id.encode(), HEARTBEATS.partitions or 1)
