"""Raw confluent-kafka beside `publish`: the same bytes, the same producer settings."""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import KafkaError, Message, Producer, TopicPartition

from benchmarks.cluster import config_of, read_all
from benchmarks.measure import Meter, latencies_ms, per_event
from headwater.config import Config
from headwater.kafka import clients

# A tail that is told of each record at once: long polls that one byte ends.
_TAIL = {"fetch.min.bytes": 1, "fetch.wait.max.ms": 500, "fetch.queue.backoff.ms": 0}
_WAIT_S = 10.0


class _Deliveries:
    """What the delivery callback sees."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            raise RuntimeError(error.str())
        self.done += 1


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Side: produce again what Headwater produced; ``warm_up`` records of it unmeasured."""
    config = config_of(params)
    partition, topic = params["partition"], params["topic"]
    records = [
        (m.key() or b"", m.value() or b"")
        for m in read_all(config, config.topic("events"), [partition])
        if m.key() == params["agent"].encode()
    ][: params["warm_up"] + params["events"] + 1]
    producer = clients.producer(config)
    deliveries = _Deliveries()
    warm_up = params["warm_up"] + 1  # and the claim
    _produce(producer, topic, partition, records[:warm_up], deliveries)
    meter = Meter()
    meter.start()
    _produce(producer, topic, partition, records[warm_up:], deliveries)
    result = per_event(meter.stop(), len(records) - warm_up)
    if deliveries.done != len(records):
        raise RuntimeError(f"{deliveries.done} of {len(records)} records were delivered")
    key, value = records[-1]
    return {
        **result,
        "bytes": sum(len(k) + len(v) for k, v in records[warm_up:]),
        "ack": latencies_ms(_acknowledged(producer, topic, partition, key, value, params["acks"])),
        "strong": latencies_ms(
            _seen(config, producer, topic, partition, key, value, params["acks"])
        ),
    }


def _produce(
    producer: Producer,
    topic: str,
    partition: int,
    records: list[tuple[bytes, bytes]],
    deliveries: _Deliveries,
) -> None:
    produce, poll = producer.produce, producer.poll
    for key, value in records:
        while True:
            try:
                produce(topic, value, key, partition, deliveries)
                break
            except BufferError:
                poll(0.01)
        poll(0)
    if producer.flush(60):
        raise RuntimeError("records are left after a minute of flushing")


def _acknowledged(
    producer: Producer, topic: str, partition: int, key: bytes, value: bytes, times: int
) -> list[float]:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        producer.produce(topic, value, key, partition, _Deliveries())
        producer.flush()
        taken.append(time.perf_counter() - started)
    return taken


def _seen(
    config: Config,
    producer: Producer,
    topic: str,
    partition: int,
    key: bytes,
    value: bytes,
    times: int,
) -> list[float]:
    consumer = clients.consumer(config, _TAIL)
    end = consumer.get_watermark_offsets(TopicPartition(topic, partition))[1]
    consumer.assign([TopicPartition(topic, partition, end)])
    taken = []
    for n in range(times + 10):
        started = time.perf_counter()
        producer.produce(topic, value, key, partition, _Deliveries())
        producer.flush()
        _await(consumer, end + n)
        taken.append(time.perf_counter() - started)
    consumer.close()
    return taken[10:]


def _await(consumer: Any, offset: int) -> None:
    deadline = time.perf_counter() + _WAIT_S
    while time.perf_counter() < deadline:
        message = consumer.poll(_WAIT_S)
        if message is not None and message.error() is None and message.offset() == offset:
            return
    raise RuntimeError(f"record {offset} was not seen")
