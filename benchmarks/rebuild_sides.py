"""The sides of `rebuild`: from a backup, and from memory."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, Message

import headwater
from benchmarks.cluster import config_of, make_topic, read_all
from benchmarks.measure import Meter
from headwater.backup import Archive
from headwater.backup.restore import plan_restore, restore
from headwater.config import Config
from headwater.kafka import clients
from headwater.tiers import open_tier
from headwater.topics import connect_topics

_TOPICS = ("snapshots", "checkpoints", "index")
_CACHE_BYTES = 256 << 20


def rebuild(params: dict[str, Any]) -> dict[str, Any]:
    """Side: fill the empty topics of a configuration from a backup; then every agent is proved."""
    config = config_of(params)
    connect_topics(config)
    meter = Meter()
    meter.start()
    with open_tier(params["url"]) as tier:
        archive = Archive(tier, _CACHE_BYTES)
        done = restore(archive, config, plan_restore(archive))
    result = meter.stop()
    _prove(config, params["heads"])
    size = sum(
        len(m.key() or b"") + len(m.value() or b"")
        for topic in _TOPICS
        for m in read_all(config, config.topic(topic), range(params["partitions"]))
    )
    return {
        **result,
        "agents": done.agents,
        "records": done.records,
        "bytes": size,
        "bytes_per_s": size / result["wall_s"],
    }


def _prove(config: Config, heads: dict[str, str]) -> None:
    found = {}
    with headwater.connect(config) as hw:
        for recovered in hw.recover_many():
            if isinstance(recovered, headwater.Failed):
                raise recovered.error
            found[recovered.agent_id] = recovered.head.hash.hex()
    if found != heads:
        raise RuntimeError(f"{len(found)} of {len(heads)} agents came back, or other ones")


def raw(params: dict[str, Any]) -> dict[str, Any]:
    """Side: produce all that the rebuild wrote once more, from memory."""
    config = config_of(params)
    records = []
    for topic in _TOPICS:
        copy = f"{config.prefix}raw-{topic}"
        make_topic(config, copy, params["partitions"])
        records += [
            (copy, m.partition() or 0, m.key(), m.value(), m.timestamp()[1])
            for m in read_all(config, config.topic(topic), range(params["partitions"]))
        ]
    size = sum(len(key or b"") + len(value or b"") for _, _, key, value, _ in records)
    producer, done = clients.producer(config, linger_ms=20), [0]

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            raise RuntimeError(error.str())
        done[0] += 1

    meter = Meter()
    meter.start()
    produce, poll = producer.produce, producer.poll
    for topic, partition, key, value, timestamp in records:
        while True:
            try:
                produce(topic, value, key, partition, on_delivery=delivered, timestamp=timestamp)
                break
            except BufferError:
                poll(0.05)
        poll(0)
    left = producer.flush(60)
    result = meter.stop()
    if left or done[0] != len(records):
        raise RuntimeError(f"{done[0]} of {len(records)} records were delivered")
    return {
        **result,
        "records": len(records),
        "bytes": size,
        "bytes_per_s": size / result["wall_s"],
    }
