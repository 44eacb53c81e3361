"""Using a local Kafka in tests: topics, values, and waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from headwater.local import LocalKafka
from headwater.local.process import began_at


def create(kafka: LocalKafka, topic: str, replicas: int) -> None:
    """A topic with one partition."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_topics([NewTopic(topic, 1, replicas)])[topic].result(10)


def write(kafka: LocalKafka, topic: str, values: Sequence[bytes]) -> None:
    """Writes values and has them acknowledged by all."""
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "enable.idempotence": True,
            "retry.backoff.ms": 20,
            "log_level": 0,
        }
    )
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def read(kafka: LocalKafka, topic: str, count: int) -> list[bytes | None]:
    """The first values of a topic."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "unused", "log_level": 0}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        return [message.value() for message in consumer.consume(count, 20)]
    finally:
        consumer.close()


def soon(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def runs(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    return began_at(pid) is not None
