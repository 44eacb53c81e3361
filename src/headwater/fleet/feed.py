"""Reading and writing the fleet's topics: all partitions of a topic as they come, and one producer.

Nothing here is part of a consumer group: whoever follows a topic sees all of it. Who may act on
what it sees is decided elsewhere, by partition ownership and by deterministic ids.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any, Literal, Protocol

from confluent_kafka import KafkaError, Message, TopicPartition

from headwater.config import Config
from headwater.errors import SchemaTooNew, Unavailable, UndecodableRecord
from headwater.kafka import clients
from headwater.kafka.errors import is_retryable, mapped, to_headwater
from headwater.kafka.reader import Reader
from headwater.log.chain import partition_of
from headwater.topics import FLEET, HEARTBEATS

log = logging.getLogger("headwater.fleet")

_PARTITIONS = {spec.name: spec.partitions or 1 for spec in (*FLEET, HEARTBEATS)}
# An idle fetch is held for long; one that has something comes back at once.
_TUNING = clients.FOLLOWING | {
    "fetch.wait.max.ms": 500,
    "queued.min.messages": 10_000,
    "queued.max.messages.kbytes": 16 * 1024,
}
_BATCH = 1000
_STEP_S = 0.01


def partitions_of(topic: str) -> int:
    """How many partitions a topic of the fleet has."""
    return _PARTITIONS[topic]


def partition_for(topic: str, key: str) -> int:
    """The partition of a topic of the fleet that holds a key."""
    return partition_of(key.encode(), partitions_of(topic))


class Encodable(Protocol):
    """A record of the fleet."""

    def encode(self) -> bytes:
        """Its bytes."""
        ...


class Feed:
    """Reads all partitions of one topic onwards, for one thread.

    ``start``: "beginning", "end" (what is written after the constructor returned), or milliseconds
    since 1970.
    """

    def __init__(
        self, config: Config, topic: str, start: Literal["beginning", "end"] | int = "beginning"
    ) -> None:
        self._topic = config.topic(topic)
        self._count = partitions_of(topic)
        self._timeout_s = config.read_timeout.total_seconds()
        self._where = f"following {self._topic}"
        reader = Reader(config, clients.POINT_READS)
        try:
            ranges = {p: reader.range(self._topic, p) for p in range(self._count)}
            self.positions = {p: self._begin(reader, p, start, *ranges[p]) for p in ranges}
        finally:
            reader.close()
        self._ends = {p: end for p, (_, end) in ranges.items()}
        self._consumer = clients.consumer(config, _TUNING, auto_offset_reset="earliest")
        with mapped(self._where):
            self._consumer.assign(
                [TopicPartition(self._topic, p, at) for p, at in self.positions.items()]
            )

    def _begin(self, reader: Reader, partition: int, start: str | int, first: int, end: int) -> int:
        if start == "beginning":
            return first  # a logical start can take librdkafka half a second
        if start == "end":
            return end
        assert isinstance(start, int)
        found = reader.first_after(self._topic, partition, start)
        return end if found is None else found

    @property
    def caught_up(self) -> bool:
        """Whether everything has been read that was there when this was made."""
        return all(self.positions[p] >= end for p, end in self._ends.items())

    def read(self, timeout_s: float) -> list[Message]:
        """What has come, waiting up to ``timeout_s`` for something; in each partition's order."""
        with mapped(self._where):
            first = self._consumer.poll(timeout_s)
            if first is None:
                return []
            rest = self._consumer.consume(_BATCH, 0) if first.error() is None else []
        good: list[Message] = []
        for message in (first, *rest):
            error = message.error()
            partition, offset = message.partition(), message.offset()
            if error is None:
                good.append(message)
                self.positions[partition or 0] = (offset or 0) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self.positions[partition or 0] = max(self.positions[partition or 0], offset or 0)
            elif not is_retryable(error):
                raise to_headwater(error, self._where)
        return good

    def read_all(self) -> Iterator[Message]:
        """Everything that was there when this was made. Raises :class:`Unavailable` where the
        brokers do not give it in time.
        """
        deadline = time.monotonic() + self._timeout_s
        while not self.caught_up:
            batch = self.read(0.05)
            if batch:
                deadline = time.monotonic() + self._timeout_s
                yield from batch
            elif time.monotonic() > deadline:
                raise Unavailable(f"{self._where}: no answer in {self._timeout_s:g} s; try again")

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()


class Sender:
    """Writes the fleet's records. Safe for use by several threads. ``linger_ms``: how long a record
    may wait for company.
    """

    def __init__(self, config: Config, *, linger_ms: int = 0) -> None:
        self._config = config
        self._timeout_s = config.send_timeout.total_seconds()
        self._producer = clients.producer(config, linger_ms=linger_ms)

    def send(self, topic: str, key: str, record: Encodable | None, *, by: str = "") -> Sent:
        """Send a record (None: a tombstone) and do not wait; ``by`` is what its partition follows
        from, where that is not the key.
        """
        sent = Sent()
        value = None if record is None else record.encode()
        partition = partition_for(topic, by or key)
        with mapped(f"writing to {topic}"):
            self._producer.produce(
                self._config.topic(topic), value, key.encode(), partition, sent.delivered
            )
        return sent

    def settle(self, *sents: Sent) -> None:
        """Wait until these are acknowledged; raises :class:`Unavailable`, or what they met with."""
        deadline = time.monotonic() + self._timeout_s
        while not all(sent.done for sent in sents):
            self._producer.poll(_STEP_S)
            if time.monotonic() > deadline:
                raise Unavailable(f"no acknowledgement in {self._timeout_s:g} s; try again")
        for sent in sents:
            if sent.error is not None:
                raise to_headwater(sent.error, "writing to the fleet's topics")

    def put(self, topic: str, key: str, record: Encodable | None, *, by: str = "") -> int:
        """Send a record and wait until it is acknowledged; its offset."""
        sent = self.send(topic, key, record, by=by)
        self.settle(sent)
        return sent.offset

    def warm(self, *topics: str) -> None:
        """Find the leaders of topics, so that the first record for each need not wait for that."""
        for topic in topics:
            with mapped(f"asking for the leaders of {topic}"):
                self._producer.list_topics(self._config.topic(topic), timeout=self._timeout_s)

    def poll(self) -> None:
        """Let acknowledgements be reported that nobody waits for."""
        self._producer.poll(0)

    def close(self) -> None:
        """Wait a moment for what is on its way."""
        self._producer.flush(min(self._timeout_s, 5.0))


class Sent:
    """A record on its way: ``done``, then ``error`` or ``offset``."""

    __slots__ = ("done", "error", "offset")

    def __init__(self) -> None:
        self.done = False
        self.error: KafkaError | None = None
        self.offset = -1

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """What librdkafka calls."""
        self.error = error
        self.offset = -1 if error is not None else message.offset() or 0
        self.done = True


def decoded(cls: Any, message: Message) -> Any | None:
    """The record in a message, or None for a tombstone, and for what this release cannot read:
    no reader of the fleet may stop at what somebody else wrote.
    """
    value = message.value()
    if value is None:
        return None
    try:
        return cls.decode(value)
    except (UndecodableRecord, SchemaTooNew) as error:
        log.warning("%s[%s] offset %s: %s", message.topic(), message.partition(),
                    message.offset(), error)  # fmt: skip
        return None
