"""Writes records to given partitions and waits until the brokers have them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, Message

from headwater.config import Config
from headwater.errors import Unavailable
from headwater.kafka import clients
from headwater.kafka.errors import mapped, to_headwater

_STEP_S = 0.01
# For so long after a topic was made there are brokers that have not heard of it.
_NEW_TOPIC_S = 5.0


class Record(NamedTuple):
    """One record; without a value it is a tombstone."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None


class Writer:
    """A producer of its own, which lingers for nobody. Safe for use by several threads."""

    def __init__(self, config: Config, topics: Sequence[str]) -> None:
        self._timeout_s = config.send_timeout.total_seconds()
        # A chunk must fit, however little the configuration lets events wait for the brokers.
        self._producer = clients.producer(config, linger_ms=0, queue_buffering_max_kbytes=64 << 10)
        for topic in topics:
            self._look_up(topic)

    def write(self, records: Sequence[Record]) -> list[int]:
        """Write records; their offsets, once all are acknowledged by all in-sync replicas.

        Raises :class:`Unavailable`, after which any of them may be there or not.
        """
        offsets: dict[int, int] = {}
        failed: list[KafkaError] = []

        def delivered(number: int) -> Callable[[KafkaError | None, Message], None]:
            def note(error: KafkaError | None, message: Message) -> None:
                if error is not None:
                    failed.append(error)
                offsets[number] = message.offset() or 0

            return note

        deadline = time.monotonic() + self._timeout_s
        for number, record in enumerate(records):
            self._produce(record, delivered(number), deadline)
        while len(offsets) < len(records):
            self._producer.poll(_STEP_S)
            # The producer itself gives up at the same time, and says why.
            if time.monotonic() > deadline + 1:
                raise Unavailable(f"no acknowledgement in {self._timeout_s:g} s; try again")
        if failed:
            raise to_headwater(failed[0], f"writing to {records[0].topic}")
        return [offsets[number] for number in range(len(records))]

    def send(self, records: Sequence[Record]) -> None:
        """Send records without waiting; ``close`` waits for them."""
        deadline = time.monotonic() + self._timeout_s
        for record in records:
            self._produce(record, None, deadline)

    def close(self) -> None:
        """Wait for what is under way."""
        self._producer.flush(self._timeout_s)

    def _look_up(self, topic: str) -> None:
        """Ask for a topic: the first record of one that was not asked for waits up to a second."""
        deadline = time.monotonic() + _NEW_TOPIC_S
        while time.monotonic() < deadline:
            with mapped(f"looking for {topic}"):
                found = self._producer.list_topics(topic, timeout=self._timeout_s).topics[topic]
            if found.error is None and found.partitions:
                return
            time.sleep(_STEP_S)

    def _produce(
        self,
        record: Record,
        delivered: Callable[[KafkaError | None, Message], None] | None,
        deadline: float,
    ) -> None:
        topic, partition, key, value = record
        while True:
            try:
                with mapped(f"writing to {topic}"):
                    self._producer.produce(topic, value, key, partition, delivered)
            except BufferError:
                self._producer.poll(_STEP_S)
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"the brokers have taken nothing of {topic} for {self._timeout_s:g} s; "
                        "try again"
                    ) from None
            else:
                return
