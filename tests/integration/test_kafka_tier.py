"""What is Kafka's own among the tiers: topics, tombstones, and chunks that nobody names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from confluent_kafka.admin import NewTopic

from headwater import Config, CorruptData, KeyNotFound, TopicMismatch, Unavailable
from headwater.kafka import clients
from headwater.kafka.reader import Reader
from headwater.tiers import Tier, open_tier
from headwater.tiers.kafka import CHUNK_BYTES, KafkaStore
from headwater.tiers.kafka_writer import Record
from headwater.tiers.manifest import Manifest, chunk_key
from tests.support.clusters import Kafka, fresh_config


@pytest.fixture(scope="module")
def config(headwater_kafka: Kafka) -> Config:
    """Settings of this module's own topics."""
    return fresh_config(headwater_kafka)


@pytest.fixture
def store(config: Config, request: pytest.FixtureRequest) -> Iterator[KafkaStore]:
    """A store with topics of the test's own, one of chunks and one of manifests."""
    opened = KafkaStore(config, config.topic(re.sub("[^a-z]+", "-", request.node.name)), 1)
    yield opened
    opened.close()


@pytest.fixture
def tier(store: KafkaStore) -> Tier:
    """A tier over it."""
    return Tier(store)


def chunks(config: Config, store: KafkaStore) -> dict[bytes, int]:
    """The chunks that compaction will keep, with their sizes."""
    found: dict[bytes, int] = {}
    reader = Reader(config, clients.SCANS)
    for batch in reader.scan(store._chunks, 0, None):
        for message in batch:
            found[message.key() or b""] = len(message.value() or b"")
    reader.close()
    return {key: size for key, size in found.items() if size}


def test_replaced_and_deleted_chunks_are_buried(
    config: Config, store: KafkaStore, tier: Tier
) -> None:
    """Only the chunks of what can be loaded outlive compaction, none larger than a message."""
    tier.save("a", bytes(2 * CHUNK_BYTES))
    tier.save("b", b"gone")
    assert len(chunks(config, store)) == 4
    assert max(chunks(config, store).values()) == CHUNK_BYTES
    tier.save("a", b"short")
    tier.delete("b")
    store._writer.close()
    assert len(chunks(config, store)) == 1
    assert tier.load("a") == b"short"


def test_what_the_dead_leave_behind(config: Config, store: KafkaStore, tier: Tier) -> None:
    """Chunks without a manifest are swept once they are old enough; nothing else is."""
    tier.save("a", b"kept" * 1_000_000)
    kept = chunks(config, store)
    orphan = Record(store._chunks, 0, chunk_key(b"0123456789abcdef", 0), b"12345")
    store._writer.write([orphan])
    assert tier.sweep() == 0
    assert len(chunks(config, store)) == len(kept) + 1
    assert tier.sweep(timedelta(0)) == 5
    assert chunks(config, store) == kept
    assert tier.sweep(timedelta(0)) == 0
    assert tier.load("a") == b"kept" * 1_000_000


@pytest.mark.parametrize("lost", ["manifest", "chunk", "offset"])
def test_lost_records(store: KafkaStore, tier: Tier, lost: str) -> None:
    """A manifest that is none, or whose chunks are not there, is corruption of that key alone."""
    tier.save("a", b"1")
    tier.save("b", b"2")
    manifest = Manifest.decode(store._index.get("a") or b"")
    assert manifest is not None
    there = {"chunk": [manifest.offsets[0] + 1], "offset": [10_000_000]}.get(lost, [])
    broken = Manifest(save_id=manifest.save_id, partition=0, offsets=there, size_bytes=46)
    raw = b"nonsense" if lost == "manifest" else broken.encode()
    store._writer.write([Record(store._manifests, 0, b"a", raw)])
    with pytest.raises(CorruptData, match="'a' is corrupt"):
        tier.load("a")
    assert tier.load("b") == b"2"
    assert [entry.key for entry in tier.list()] == ["a", "b"]
    tier.save("a", b"3")
    assert tier.load("a") == b"3"
    tier.delete("a")
    with pytest.raises(KeyNotFound):
        tier.load("a")


def test_a_value_that_is_replaced_meanwhile(
    store: KafkaStore, tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds chunks gone because the key was saved anew, after a long pause, loads that."""
    tier.save("a", b"old")
    join = store._join

    def pause(manifest: Manifest) -> bytes:
        monkeypatch.undo()
        assert join(manifest).endswith(b"old")
        tier.save("a", b"new")
        return b""

    monkeypatch.setattr(store, "_join", pause)
    assert tier.load("a") == b"new"


def test_a_cluster_of_its_own(config: Config, store: KafkaStore, tier: Tier) -> None:
    """A full address names the same topics as the configuration's cluster and prefix do."""
    tier.save("a", b"1")
    name = store._chunks.removesuffix(".chunks")
    for given in (None, config.with_(bootstrap_servers="127.0.0.1:1")):
        with open_tier(f"kafka://{config.bootstrap_servers}/{name}?partitions=3", given) as other:
            assert other.load("a") == b"1"


def test_topics_that_would_lose_values(config: Config) -> None:
    """Topics that others have made without compaction are refused, and missing ones are named
    where none may be made.
    """
    name = config.topic("aging")
    topic = NewTopic(f"{name}.chunks", num_partitions=1, config={"cleanup.policy": "delete"})
    admin = clients.admin(config)
    admin.create_topics([topic])[f"{name}.chunks"].result()
    with pytest.raises(TopicMismatch, match=r"cleanup\.policy=delete"):
        open_tier("kafka:aging", config)
    with pytest.raises(TopicMismatch, match=r"missing topics: .*none\.manifests"):
        open_tier("kafka:none", config.with_(create_topics=False))


def test_nobody_there() -> None:
    """A cluster that does not answer is unavailable, soon."""
    config = Config(bootstrap_servers="127.0.0.1:1", read_timeout=timedelta(seconds=0.5))
    with pytest.raises(Unavailable):
        open_tier("kafka:a", config)
