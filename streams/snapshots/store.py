"""Where the compactor's output goes: one partition of snapshots and index, in transactions.

:class:`Store` is the seam: the compactor's logic knows nothing of Kafka, and is tested against a
store in memory. :class:`KafkaStore` is the real one.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from headwater.clock import wall_ms
from headwater.config import Config
from headwater.errors import Unavailable
from headwater.kafka import clients
from headwater.kafka.errors import is_retryable, mapped, to_headwater
from headwater.kafka.reader import ReaderPool
from headwater.kafka.transactions import flush, insist
from headwater.log.snapshots import OWNER_KEY, POSITION_KEY
from headwater.sabotage import NO_INIT_TRANSACTIONS, active
from headwater.wire import codec

from .tracked import Position

log = logging.getLogger("headwater.compactor")

TRANSACTION_TIMEOUT_MS = 60_000
_CONNECT_S = 0.05
_PATIENCES_S = (0.05, 0.1, 0.2)
_GLANCE_S = 0.01


# Some megabytes in a row: what is fetched beyond them is fetched in vain, so little is held ahead.
_RUNS = clients.SCANS | {
    "queued.max.messages.kbytes": 4096,
    "fetch.message.max.bytes": 1 << 20,
    "fetch.queue.backoff.ms": 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What the index partition holds: the position, and the entries by agent id."""

    position: Position
    entries: dict[bytes, bytes]


class Store(Protocol):
    """One partition of snapshots and index. Errors are Headwater's; after any of them, nothing of
    the transaction counts and the store is of no more use than to be closed.
    """

    @property
    def events_topic(self) -> str:
        """Full name of the events topic."""

    def take_over(self) -> Holdings:
        """Shut a former writer out, and read everything that it committed."""

    def begin(self) -> None:
        """Begin a transaction."""

    def put_snapshot(self, key: str, value: bytes, written: Callable[[int], None]) -> None:
        """Write to snapshots; ``written`` is told the offset, at the latest by :meth:`settle`."""

    def settle(self) -> None:
        """Wait until everything so far is written."""

    def put_index(self, key: bytes, value: bytes) -> None:
        """Write to the index."""

    def put_checkpoint(self, key: bytes, value: bytes) -> None:
        """Write to checkpoints."""

    def put_dead_letter(self, value: bytes) -> None:
        """Write to dead-letters."""

    def put_commit(self, value: bytes) -> None:
        """Write to commits."""

    def commit(self) -> None:
        """Commit the transaction."""

    def read_snapshots(self, first: int, last: int, much: bool) -> Iterator[tuple[int, bytes]]:
        """Offsets and values of the snapshots from ``first`` to ``last`` that are there;
        ``much`` if it is worth while to read far ahead.
        """

    def fetch(self, partition: int, offset: int) -> bytes | None:
        """The value at a place of snapshots, in whichever partition; None where there is none."""

    def read_events(self, start: int | None, until: int) -> Iterator[list[Message]]:
        """The records of events from ``start`` (None: the earliest) to before ``until``."""

    def close(self) -> None:
        """Abort what is open, and give everything back."""


def encode_position(partition: int, position: Position, node_id: str) -> bytes:
    """The value of a position, or of an owner's marker."""
    return codec("Position").encode(
        {
            "partition": partition,
            "next_offset": position.next_offset,
            "node_id": node_id,
            "updated_at": wall_ms(),
            "repeats": position.repeats,
            "stale": position.stale,
            "conflicts": position.conflicts,
            "dead_letters": position.dead_letters,
        }
    )


def decode_position(value: bytes) -> Position:
    """The position of a record's value."""
    record = codec("Position").decode(value)
    return Position(**{name: record[name] for name in Position.__struct_fields__})


class Readers:
    """Connections for reading that all partitions of a process share."""

    def __init__(self, config: Config) -> None:
        self.points = ReaderPool(config, clients.POINT_READS)
        self.runs = ReaderPool(config, _RUNS)
        self.scans = ReaderPool(config, clients.SCANS)

    def close(self) -> None:
        """Close them."""
        self.points.close()
        self.runs.close()
        self.scans.close()


class KafkaStore:
    """A :class:`Store` in Kafka: one transactional producer, under an id that is known in advance.

    Whoever takes over initialises the same transactional id, which at once aborts the transaction
    that a dead predecessor left open; it would hide all that follows from readers otherwise.
    """

    def __init__(self, config: Config, partition: int, readers: Readers) -> None:
        self._config = config
        self._partition = partition
        self._readers = readers
        self._events = config.topic("events")
        self._snapshots = config.topic("snapshots")
        self._index = config.topic("index")
        self._checkpoints = config.topic("checkpoints")
        self._dead_letters = config.topic("dead-letters")
        self._commits = config.topic("commits")
        self._timeout_s = config.send_timeout.total_seconds()
        # Under an id of its own it would not abort a dead predecessor's transaction.
        suffix = f"-{uuid.uuid4()}" if NO_INIT_TRANSACTIONS in active() else ""
        self._transactional_id = f"{config.prefix}compactor-{partition}{suffix}"
        self._open = False
        self._failed: KafkaError | None = None
        self._producer = self._make_producer()

    def _make_producer(self) -> Producer:
        return clients.producer(
            self._config,
            transactional_id=self._transactional_id,
            transaction_timeout_ms=max(TRANSACTION_TIMEOUT_MS, round(self._timeout_s * 1000)),
            # A transaction that begins right after another is told to try again: soon, then.
            retry_backoff_ms=2,
        )

    @property
    def events_topic(self) -> str:
        """Full name of the events topic."""
        return self._events

    def take_over(self) -> Holdings:
        """Shut a former writer out, and read everything that it committed."""
        self._initialise()
        marker = self._write_marker()
        return self._read_index(marker + 1)

    def _initialise(self) -> None:
        """Have the transactional id to ourselves, and a dead predecessor's transaction aborted.

        While the coordinator is still aborting it tells the client to ask again, which librdkafka
        does only after half a second; so it does where it knows no broker yet. Hence the client is
        given time to connect first, and replaced by one that asks at once where it is not through
        by the time that the other has connected, too.
        """
        doing = "taking over a partition"
        self._connect(self._producer)
        for patience_s in _PATIENCES_S:
            if self._is_initialised(patience_s, doing):
                return
            spare = self._make_producer()
            self._connect(spare)
            if self._is_initialised(_GLANCE_S, doing):
                return
            # The one before has to be gone by then: asking again itself, it would fence this one.
            self._producer = spare
        self._insist(lambda: self._producer.init_transactions(self._timeout_s), doing)

    def _is_initialised(self, patience_s: float, doing: str) -> bool:
        try:
            self._producer.init_transactions(patience_s)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if not is_retryable(cause):
                raise to_headwater(cause, doing) from error
            return False
        return True

    def _connect(self, producer: Producer) -> None:
        try:
            producer.list_topics(self._index, timeout=self._timeout_s)
        except KafkaException as error:
            if not is_retryable(error.args[0]):
                raise to_headwater(error.args[0], "taking over a partition") from error
            log.debug("partition %d: not connected yet: %s", self._partition, error)
        time.sleep(_CONNECT_S)

    def _write_marker(self) -> int:
        """Offset of a record of our own: a leader that lost its quorum can give an old end of the
        log, but it cannot hold this record.
        """
        offsets: list[int] = []
        self.begin()
        value = encode_position(self._partition, Position(), self._config.node_id)
        self._produce(self._index, OWNER_KEY, value, offsets.append)
        self.settle()
        self.commit()
        return offsets[0]

    def _read_index(self, until: int) -> Holdings:
        entries: dict[bytes, bytes] = {}
        with self._readers.scans.lend() as reader:
            for batch in reader.scan(self._index, self._partition, None, until):
                entries.update([(m.key() or b"", m.value() or b"") for m in batch])
        position = entries.pop(POSITION_KEY, None)
        entries.pop(OWNER_KEY, None)
        found = decode_position(position) if position else Position()
        return Holdings(position=found, entries=entries)

    def begin(self) -> None:
        """Begin a transaction."""
        with mapped(f"beginning a transaction for partition {self._partition}"):
            self._producer.begin_transaction()
        self._open = True

    def put_snapshot(self, key: str, value: bytes, written: Callable[[int], None]) -> None:
        """Write to snapshots; ``written`` is told the offset, at the latest by :meth:`settle`."""
        self._produce(self._snapshots, key.encode(), value, written)

    def settle(self) -> None:
        """Wait until everything so far is written."""
        doing = f"writing partition {self._partition}"
        left = flush(self._producer, doing, self._timeout_s)
        if self._failed is not None:
            raise to_headwater(self._failed, doing)
        if left:
            raise Unavailable(
                f"partition {self._partition}: {left} records not written in {self._timeout_s:g} s"
            )

    def put_index(self, key: bytes, value: bytes) -> None:
        """Write to the index."""
        self._produce(self._index, key, value)

    def put_checkpoint(self, key: bytes, value: bytes) -> None:
        """Write to checkpoints."""
        self._produce(self._checkpoints, key, value)

    def put_dead_letter(self, value: bytes) -> None:
        """Write to dead-letters."""
        self._produce(self._dead_letters, None, value, partition=0)

    def put_commit(self, value: bytes) -> None:
        """Write to commits."""
        self._produce(self._commits, None, value, partition=0)

    def commit(self) -> None:
        """Commit the transaction."""
        self._insist(
            lambda: self._producer.commit_transaction(self._timeout_s), "committing a transaction"
        )
        self._open = False

    def read_snapshots(self, first: int, last: int, much: bool) -> Iterator[tuple[int, bytes]]:
        """Offsets and values of the snapshots from ``first`` to ``last`` that are there;
        ``much`` if it is worth while to read far ahead.
        """
        pool = self._readers.runs if much else self._readers.points
        with pool.lend() as reader:
            for batch in reader.scan(self._snapshots, self._partition, first, last + 1):
                for message in batch:
                    value = message.value()
                    if value is not None:
                        yield message.offset() or 0, value

    def fetch(self, partition: int, offset: int) -> bytes | None:
        """The value at a place of snapshots, in whichever partition; None where there is none."""
        with self._readers.points.lend() as reader:
            message = reader.get(self._snapshots, partition, offset)
        return None if message is None else message.value()

    def read_events(self, start: int | None, until: int) -> Iterator[list[Message]]:
        """The records of events from ``start`` (None: the earliest) to before ``until``."""
        with self._readers.scans.lend() as reader:
            yield from reader.scan(self._events, self._partition, start, until)

    def close(self) -> None:
        """Abort what is open, and give everything back."""
        try:
            if self._open:
                self._producer.abort_transaction(self._timeout_s)
        except KafkaException as error:
            # Fenced, or out of reach: the next owner's init_transactions aborts it.
            log.debug("partition %d: not aborted: %s", self._partition, error)
        self._producer.purge()
        try:
            self._producer.close()
        except KafkaException as error:  # a fenced one has nothing left to wait for
            log.debug("partition %d: closed after an error: %s", self._partition, error)

    def _insist(self, call: Callable[[], Any], doing: str) -> None:
        insist(call, f"{doing} (partition {self._partition})", self._timeout_s)

    def _produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        written: Callable[[int], None] | None = None,
        *,
        partition: int | None = None,
    ) -> None:
        options: dict[str, Any] = {"partition": self._partition if partition is None else partition}
        if written is not None:
            options["on_delivery"] = partial(self._delivered, written)
        while True:
            try:
                self._producer.produce(topic, value, key, **options)
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                raise to_headwater(error.args[0], f"writing to {topic}") from error
            else:
                return

    def _delivered(
        self, written: Callable[[int], None], error: KafkaError | None, message: Message
    ) -> None:
        offset = message.offset()
        if error is not None:
            self._failed = error
        elif offset is not None:
            written(offset)
