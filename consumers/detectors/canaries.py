"""The detector's own records in each partition of heartbeats."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable

from confluent_kafka import KafkaException

from headwater.agent.lease import INCARNATION_BYTES
from headwater.clock import wall_ms
from headwater.config import Config
from headwater.fleet.feed import partitions_of
from headwater.fleet.pulse import Beat
from headwater.fleet.records import Heartbeat
from headwater.kafka import clients

from .health import Canary

log = logging.getLogger("headwater.detectors")


class Canaries:
    """Sends PROBEs and knows its own when they come back. For one thread."""

    def __init__(self, config: Config) -> None:
        timing = config.timing
        self._interval_s = timing.heartbeat.total_seconds()
        lease_s = timing.lease.total_seconds()
        self._topic = config.topic("heartbeats")
        self._node_id = config.node_id
        self._lease_ms = timing.lease_ms
        self._incarnation = secrets.token_bytes(INCARNATION_BYTES)
        self._sequence = 0
        # Nobody needs one that is old, but it has to outlive a failover: what is given up by the
        # client in the midst of one makes it start over.
        self._producer = clients.producer(
            config, linger_ms=0, message_timeout_ms=max(10 * timing.lease_ms, 5000)
        )
        self.each = {
            number: Canary(self._interval_s, lease_s)
            for number in range(partitions_of("heartbeats"))
        }

    def next_s(self) -> float:
        """When the next regular one is due."""
        return min(canary.sent_s for canary in self.each.values()) + self._interval_s

    def tend(self, now_s: float) -> None:
        """Send those that are due, and hear what became of those before."""
        self.send((n for n, c in self.each.items() if now_s >= c.sent_s + self._interval_s), now_s)
        self._producer.poll(0)

    def send(self, partitions: Iterable[int], now_s: float) -> None:
        """Send one to each of these partitions now."""
        for number in partitions:
            self._sequence += 1
            record = Heartbeat(
                node_id=self._node_id,
                incarnation=self._incarnation,
                kind="PROBE",
                sequence=self._sequence,
                lease_ms=self._lease_ms,
                sent_at=wall_ms(),
            )
            self.each[number].sent(self._sequence, now_s)
            try:
                self._producer.produce(self._topic, record.encode(), self._node_id.encode(), number)
            except (BufferError, KafkaException) as error:
                log.warning("a canary was not sent: %s", error)

    def take(self, beat: Beat, now_s: float) -> None:
        """A PROBE was read, of whomever."""
        if beat.record.incarnation == self._incarnation:
            self.each[beat.partition].came_back(beat.record.sequence, now_s)

    def close(self) -> None:
        """Wait for nothing."""
        self._producer.purge()
        self._producer.flush(0.1)
