"""Where an agent's snapshots are: looked up in the index, or followed as it grows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from headwater.config import Config
from headwater.errors import HeadwaterError, Unavailable
from headwater.kafka import clients
from headwater.kafka.errors import is_retryable, mapped, to_headwater
from headwater.kafka.reader import ReaderPool
from headwater.log.snapshots import POSITION_KEY, IndexEntry, decode_entry
from headwater.wire import codec

log = logging.getLogger("headwater.index")

# What comes is told at once; but a follower that asked again every few milliseconds for what does
# not come would keep the brokers busy for as long as it lives.
_TUNING = clients.SCANS | {"fetch.wait.max.ms": 500}


@dataclass(slots=True)
class IndexPartition:
    """The newest entries of one index partition, undecoded, and the compactor's position."""

    entries: dict[bytes, bytes] = field(default_factory=dict)
    next_offset: int = 0

    def take(self, messages: Iterable[Message], only: bytes | None = None) -> None:
        """Take records in their order; with ``only``, entries of other agents are passed over.

        A position comes last in its transaction, so entries are never older than it says.
        """
        for message in messages:
            key, value = message.key(), message.value()
            if key == POSITION_KEY and value is not None:
                self.next_offset = int(codec("Position").decode(value)["next_offset"])
            elif key is None or key.startswith(b"!") or (only is not None and key != only):
                continue
            elif value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value

    def entry(self, key: bytes) -> IndexEntry | None:
        """The newest entry of an agent, if it has one."""
        value = self.entries.get(key)
        return None if value is None else decode_entry(value)


def read_index(
    config: Config, pool: ReaderPool, partition: int, only: bytes | None = None
) -> IndexPartition:
    """One index partition, read now from its start to its end."""
    index = IndexPartition()
    position: Message | None = None
    with pool.lend() as reader:
        for batch in reader.scan(config.topic("index"), partition, None):
            if only is None:
                index.take(batch)
                continue
            # Most records are other agents'; of the many positions only the last is decoded.
            for message in batch:
                key = message.key()
                if key == only:
                    index.take((message,), only)
                elif key == POSITION_KEY:
                    position = message
    if position is not None:
        index.take((position,))
    return index


class IndexFollower:
    """Keeps every index partition in memory, so that a recovery finds its snapshots at once.

    Memory: about 600 bytes an agent.
    """

    def __init__(self, config: Config, partitions: int) -> None:
        self._config = config
        self._consumer: Consumer = clients.consumer(config, _TUNING)
        self._partitions = [IndexPartition() for _ in range(partitions)]
        self._behind = set(range(partitions))
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._failure: HeadwaterError | None = None
        with mapped("following the index"):
            self._consumer.assign(
                [
                    TopicPartition(config.topic("index"), p, OFFSET_BEGINNING)
                    for p in range(partitions)
                ]
            )
        self._thread = threading.Thread(target=self._run, name="headwater-index", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until every partition has been read to its end once."""
        timeout_s = self._config.read_timeout.total_seconds()
        if not self._ready.wait(timeout_s):
            raise Unavailable(f"the index could not be read in {timeout_s:g} s; try again")
        if self._failure is not None:
            raise self._failure

    def lookup(self, partition: int, key: bytes) -> tuple[IndexEntry | None, int]:
        """An agent's entry, and where the tail of its events partition begins."""
        self.wait()
        with self._lock:
            index = self._partitions[partition]
            value, next_offset = index.entries.get(key), index.next_offset
        return (None if value is None else decode_entry(value)), next_offset

    def partition(self, partition: int) -> IndexPartition:
        """A copy of one whole partition."""
        self.wait()
        with self._lock:
            index = self._partitions[partition]
            return IndexPartition(dict(index.entries), index.next_offset)

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                first = self._consumer.poll(0.1)
                if first is not None:
                    rest = self._consumer.consume(2000, 0) if first.error() is None else []
                    self._take([first, *rest])
        except HeadwaterError as error:
            log.error("following the index stopped: %s", error)
            self._failure = error
            self._ready.set()

    def _take(self, messages: list[Message]) -> None:
        with self._lock:
            for message in messages:
                error = message.error()
                if error is None:
                    self._partitions[message.partition() or 0].take((message,))
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._behind.discard(message.partition() or 0)
                elif not is_retryable(error):
                    raise to_headwater(error, "following the index")
        if not self._behind:
            self._ready.set()
