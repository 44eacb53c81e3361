"""Reading partitions of a real Kafka: one, and several side by side."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from datetime import timedelta

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from headwater import Config, Unavailable, Unprovable
from headwater.kafka import clients
from headwater.kafka.offsets import delete_before
from headwater.kafka.reader import Reader

pytestmark = pytest.mark.kafka

PARTITIONS = 3


@pytest.fixture
def topic(config: Config, request: pytest.FixtureRequest) -> str:
    """A topic with ten records in each of three partitions."""
    name = f"{config.prefix}{request.node.name}"
    admin: AdminClient = clients.admin(config)
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(10)
    write(config, name, range(10))
    return name


def write(
    config: Config, topic: str, numbers: range, partitions: range = range(PARTITIONS)
) -> None:
    """The same records to each partition."""
    producer = clients.producer(config)
    for number in numbers:
        for partition in partitions:
            producer.produce(topic, str(number).encode(), None, partition)
    assert producer.flush(10) == 0


def read(
    reader: Reader, topic: str, spans: dict[int, tuple[int, int | None]]
) -> dict[int, list[int]]:
    """The numbers that were read of each partition; each must be told as complete, once."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    complete: list[int] = []
    for partition, batch, done in reader.scan_many(topic, spans):
        assert partition not in complete
        found[partition] += [int(m.value() or b"") for m in batch]
        if done:
            complete.append(partition)
    assert sorted(complete) == sorted(spans)
    return {partition: found[partition] for partition in spans}


def test_several_partitions_are_read_side_by_side(config: Config, topic: str) -> None:
    """Each from where it is to begin, up to its end or to before an offset, and nothing twice."""
    reader = Reader(config, clients.SCANS_TO_THE_END)
    whole = list(range(10))
    assert read(reader, topic, {0: (0, None), 1: (4, None), 2: (2, 7)}) == {
        0: whole,
        1: whole[4:],
        2: whole[2:7],
    }
    assert read(reader, topic, {0: (10, None), 1: (3, 3), 2: (9, 10)}) == {0: [], 1: [], 2: [9]}
    assert read(reader, topic, {}) == {}
    # The reader is as good as new after one that was not read to its end.
    for _ in reader.scan_many(topic, {0: (0, None), 1: (0, None)}):
        break
    assert read(reader, topic, {2: (8, None)}) == {2: [8, 9]}
    assert [m.value() for batch in reader.scan(topic, 1, 8) for m in batch] == [b"8", b"9"]
    reader.close()


def test_what_is_not_there_yet_is_waited_for(config: Config, topic: str) -> None:
    """One partition grows to where it is to be read to while the others are complete."""
    reader = Reader(config, clients.SCANS_TO_THE_END)
    later = threading.Timer(0.5, write, (config, topic, range(10, 12), range(1, 2)))
    later.start()
    assert read(reader, topic, {0: (9, 10), 1: (9, 12), 2: (9, None)}) == {
        0: [9],
        1: [9, 10, 11],
        2: [9],
    }
    later.join()
    reader.close()


def test_what_was_deleted_is_not_passed_over(config: Config, topic: str) -> None:
    """An offset below the first that is left is an error, not a shorter answer."""
    delete_before(clients.admin(config), topic, {1: 5}, 10)
    reader = Reader(config, clients.SCANS_TO_THE_END)
    with pytest.raises(Unprovable):
        read(reader, topic, {0: (0, None), 1: (4, None)})
    assert read(reader, topic, {0: (8, None), 1: (5, None)}) == {0: [8, 9], 1: [5, 6, 7, 8, 9]}
    reader.close()


def test_a_slow_consumer_is_not_a_silent_broker(config: Config, topic: str) -> None:
    """What is done with the records takes longer than a broker may take."""
    reader = Reader(config.with_(read_timeout=timedelta(seconds=0.5)), clients.SCANS_TO_THE_END)
    complete = 0
    for _, _, done in reader.scan_many(topic, dict.fromkeys(range(PARTITIONS), (0, None))):
        complete += done
        time.sleep(0.7)
    assert complete == PARTITIONS
    with pytest.raises(Unavailable, match="no answer"):
        read(reader, topic, {0: (9, 11)})
    reader.close()


def test_a_partition_that_grows_all_the_time_has_an_end(
    config: Config, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while its end is asked for, and that is where reading stops."""
    monkeypatch.setattr("headwater.kafka.reader._BUSY_S", -1.0)
    reader = Reader(config, clients.SCANS_TO_THE_END)
    asked: list[int] = []

    def range_(topic: str, partition: int) -> tuple[int, int]:
        asked.append(partition)
        return 0, 6

    monkeypatch.setattr(reader, "range", range_)
    assert read(reader, topic, {0: (0, None), 1: (2, None)}) == {
        0: [0, 1, 2, 3, 4, 5],
        1: [2, 3, 4, 5],
    }
    assert sorted(asked) == [0, 1]
    reader.close()
