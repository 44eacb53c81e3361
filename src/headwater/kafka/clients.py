"""Makes confluent-kafka clients from a :class:`~headwater.config.Config`."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from headwater.config import Config
from headwater.errors import ConfigError
from headwater.kafka.errors import mapped

log = logging.getLogger("headwater.kafka")

# Headwater's guarantees rest on these; a configuration cannot change them.
RESERVED = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "isolation.level",
        "request.required.acks",
        "transactional.id",
    }
)

_SILENCE_S = 0.05
# A controller needs up to a second to name a new leader, and each gap comes on top of that.
_GAP_S, _PATIENT_GAP_S = 0.05, 0.5
_PATIENT_S = 3.0
_METADATA_S = 0.03

# Small reads at known offsets: measured 0.3 ms against 500 ms (p99) with the defaults.
POINT_READS = {
    "fetch.min.bytes": 1,
    # An assignment waits until the fetch before it has returned, so none may be held for long.
    "fetch.wait.max.ms": 1,
    "fetch.queue.backoff.ms": 0,
    "fetch.error.backoff.ms": 1,
    "queued.min.messages": 1,
    "fetch.message.max.bytes": 2048,
}
# A few records that lie near each other: many come with one fetch, and little that nobody wants.
NEAR_READS = POINT_READS | {"fetch.message.max.bytes": 256 << 10}
# Long reads: everything that the broker has, in large pieces.
SCANS = {
    "fetch.min.bytes": 1,
    "fetch.wait.max.ms": 2,
    # At 0 the client looks for room in a full queue without pause.
    "fetch.queue.backoff.ms": 10,
    "fetch.error.backoff.ms": 10,
    "queued.min.messages": 100_000,
    "queued.max.messages.kbytes": 32 * 1024,
    "fetch.message.max.bytes": 4 << 20,
}
# The end of a partition shows once a fetch comes back empty, so somebody who waits for it waits for
# that; one who follows a partition for long would keep the brokers busy so.
SCANS_TO_THE_END = SCANS | {"fetch.wait.max.ms": 1}

# What is not decided yet counts, too, where the question is whether something was written at all.
UNDECIDED = SCANS | {"isolation.level": "read_uncommitted"}

# Waiting for the next record of one partition, with little kept in memory meanwhile.
FOLLOWING = {
    "fetch.min.bytes": 1,
    "fetch.wait.max.ms": 500,
    "fetch.queue.backoff.ms": 10,
    "fetch.error.backoff.ms": 10,
    "queued.min.messages": 1000,
    "queued.max.messages.kbytes": 2048,
}


def _properties(config: Config, *layers: dict[str, Any]) -> dict[str, Any]:
    refused = RESERVED.intersection(config.kafka)
    if refused:
        raise ConfigError(
            f"kafka property {', '.join(sorted(refused))} is Headwater's to set; leave it out"
        )
    merged: dict[str, Any] = {
        "bootstrap.servers": config.bootstrap_servers,
        "client.id": f"headwater-{config.node_id}",
        "retry.backoff.ms": 10,
        "retry.backoff.max.ms": 200,
        "reconnect.backoff.ms": 10,
        "reconnect.backoff.max.ms": 500,
        "topic.metadata.refresh.fast.interval.ms": 30,
        "socket.nagle.disable": True,
        "log.connection.close": False,
        "allow.auto.create.topics": False,
        "error_cb": _note_error,
    }
    for layer in layers:
        merged.update(layer)
    return merged | dict(config.kafka)


def _note_error(error: KafkaError) -> None:
    # Per-call errors reach their callers; what comes here is the client's own news.
    log.debug("kafka client: %s", error)


def producer(config: Config, **properties: Any) -> Producer:
    """An idempotent producer with acks=all; ``properties`` are librdkafka's, ``.`` as ``_``."""
    base = {
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 5,
        "compression.type": "lz4",
        "message.timeout.ms": round(config.send_timeout.total_seconds() * 1000),
        "queue.buffering.max.kbytes": max(1, config.max_in_flight_bytes // 1024),
        "queue.buffering.max.messages": 1_000_000,
        "message.max.bytes": 1_000_000,
    }
    with mapped("making a producer"):
        return Producer(_properties(config, base, _dotted(properties)), logger=log)


class LeaderSearch:
    """Asks for leaders, for a client that has waited a while: one of them may have moved, and the
    client by itself looks only after longer. Halves the time until the first acknowledgement after
    a broker was killed.

    However many wait, it asks once for all of them, and rarely once that has taken long: brokers
    that are only slow must not get slower by being asked.
    """

    def __init__(self, client: Producer | Consumer) -> None:
        self._client = client
        self._asked_s = -math.inf

    def waited(self, topic: str, seconds: float) -> None:
        """Nothing was heard for so long; the same wait is told of again and again."""
        now_s = time.monotonic()
        gap_s = _GAP_S if seconds < _PATIENT_S else _PATIENT_GAP_S
        if seconds < _SILENCE_S or now_s - self._asked_s < gap_s:
            return
        self._asked_s = now_s
        self.ask(topic)

    def ask(self, topic: str) -> None:
        """Ask now."""
        try:
            self._client.list_topics(topic, timeout=_METADATA_S)
        except KafkaException as error:  # only asked to hasten the client's own retries
            log.debug("no metadata: %s", error)


def consumer(config: Config, tuning: dict[str, Any], **properties: Any) -> Consumer:
    """A consumer that reads committed records, stores no offsets, and reports ends and gaps."""
    base = {
        "group.id": f"{config.prefix}readers",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "check.crcs": True,
    }
    with mapped("making a consumer"):
        return Consumer(_properties(config, base, tuning, _dotted(properties)), logger=log)


def admin(config: Config) -> AdminClient:
    """An admin client."""
    with mapped("making an admin client"):
        return AdminClient(_properties(config), logger=log)


def _dotted(properties: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in properties.items()}
