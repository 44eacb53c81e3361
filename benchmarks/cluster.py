"""The Kafka that benchmarks run against, and what they ask of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from benchmarks.report import say
from headwater.config import Config
from headwater.kafka import clients
from headwater.kafka.reader import Reader
from headwater.local import LocalKafka, kafka_or_existing

# A broker with room for throughput; lean settings are for start-up time. The cleaner looks often.
_BROKER = {
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.backoff.ms": "200",
    "log.cleaner.dedupe.buffer.size": "67108864",
    "transaction.state.log.num.partitions": "4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A running Kafka; ``data_dir`` is None where it is not on this machine's disk."""

    bootstrap_servers: str
    data_dir: Path | None

    def disk_bytes(self, topic: str) -> int:
        """Bytes of a topic's log segments, as compressed as they lie there; 0 if unknown."""
        if self.data_dir is None:
            return 0
        return sum(log.stat().st_size for log in self.data_dir.glob(f"node-1/{topic}-*/*.log"))


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A broker, for as long as the block lasts."""
    say("starting Kafka")
    with kafka_or_existing(properties=_BROKER) as kafka:
        yield Cluster(
            bootstrap_servers=kafka.bootstrap_servers,
            data_dir=kafka.status.data_dir if isinstance(kafka, LocalKafka) else None,
        )


def fresh_config(kafka: Cluster, partitions: int, name: str) -> Config:
    """A configuration with topics of its own, which nothing has been written to."""
    return Config(
        bootstrap_servers=kafka.bootstrap_servers,
        prefix=f"bench-{name}-{uuid.uuid4().hex[:8]}.",
        partitions=partitions,
        node_id=f"bench-{name}",
    )


def make_topic(config: Config, name: str, partitions: int) -> None:
    """A plain topic."""
    admin = clients.admin(config)  # held: what is under way ends with its client
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result()


def delete_topics(config: Config, prefix: str) -> None:
    """Every topic whose name has it, changelogs too; benchmarks leave no gigabytes behind."""
    admin = clients.admin(config)
    names = [name for name in admin.list_topics(timeout=10).topics if prefix in name]
    for future in admin.delete_topics(names).values() if names else ():
        future.result()


def alter_topic(config: Config, topic: str, settings: Mapping[str, str]) -> None:
    """Change some of a topic's settings."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = clients.admin(config)
    admin.incremental_alter_configs([resource])[resource].result()


def read_all(config: Config, topic: str, partitions: Sequence[int]) -> Iterator[Message]:
    """Every committed record of a topic's partitions, one partition after the other."""
    reader = Reader(config, clients.SCANS)
    try:
        for partition in partitions:
            for batch in reader.scan(topic, partition, None):
                yield from batch
    finally:
        reader.close()


def raw_consumer(config: Config, topics: Mapping[str, Sequence[int]]) -> Consumer:
    """A plain consumer at the start of the given partitions of each topic."""
    consumer = clients.consumer(config, clients.SCANS)
    consumer.assign([TopicPartition(topic, p, 0) for topic, parts in topics.items() for p in parts])
    return consumer


def is_end(message: Message) -> bool:
    """Whether a message says that a partition ends; any other error is raised."""
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    raise RuntimeError(str(error))


def settings_of(config: Config) -> dict[str, Any]:
    """What a side in another process needs to make the same configuration."""
    return {
        "bootstrap_servers": config.bootstrap_servers,
        "prefix": config.prefix,
        "partitions": config.partitions,
        "node_id": config.node_id,
    }


def config_of(params: Mapping[str, Any]) -> Config:
    """The configuration that :func:`settings_of` told of."""
    names = ("bootstrap_servers", "prefix", "partitions", "node_id")
    return Config(**{name: params[name] for name in names})
