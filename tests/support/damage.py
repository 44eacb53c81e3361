"""Loses and spoils what a cluster holds, for tests of recovery."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from headwater import Config
from headwater.kafka import clients
from headwater.kafka.reader import Reader
from tests.support.processes import eventually

_AT_ONCE = {"min.compaction.lag.ms": "0", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "100"}


def spoil_snapshots(
    config: Config, partition: int, keys: Iterable[bytes], change: Callable[[bytes], bytes | None]
) -> None:
    """Put ``change(value)`` (None: a tombstone) in place of the snapshots with these keys, and see
    to it that compaction takes the old ones away.
    """
    topic = config.topic("snapshots")
    resource = ConfigResource(
        ResourceType.TOPIC,
        topic,
        incremental_configs=[
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in _AT_ONCE.items()
        ],
    )
    admin = clients.admin(config)
    admin.incremental_alter_configs([resource])[resource].result()
    reader, producer = Reader(config, clients.SCANS), clients.producer(config)
    wanted = set(keys)
    found = {
        m.key(): (m.offset() or 0, m.value() or b"")
        for batch in reader.scan(topic, partition, None)
        for m in batch
        if m.key() in wanted
    }
    assert found.keys() == wanted
    for key, (_, value) in found.items():
        producer.produce(topic, change(value), key, partition=partition)
    producer.flush(10)

    def gone() -> bool:
        # A segment is closed by a write that comes after its time.
        producer.produce(topic, b"filler", b"!filler", partition=partition)
        producer.flush(10)
        old = {offset for offset, _ in found.values()}
        here = {m.offset() for batch in reader.scan(topic, partition, None) for m in batch}
        return not old & here

    eventually(gone, 40, "compaction", step_s=0.2)
    reader.close()


def flipped(value: bytes) -> bytes:
    """A record whose payload's last byte is another."""
    return value[:-1] + bytes([value[-1] ^ 1])


def delete_events(config: Config, partition: int, before: int) -> None:
    """Delete the records of events below an offset, as retention does."""
    place = TopicPartition(config.topic("events"), partition, before)
    admin = clients.admin(config)
    admin.delete_records([place])[place].result()
    deadline = time.monotonic() + 10
    reader = Reader(config, clients.SCANS)
    while reader.range(config.topic("events"), partition)[0] < before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    reader.close()
