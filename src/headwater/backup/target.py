"""The cluster that a backup is restored into: what is in it, and writing to it at known offsets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import (
    KafkaError,
    KafkaException,
    Message,
    Producer,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from headwater.config import Config
from headwater.errors import Conflict, NotEmpty, Unavailable
from headwater.kafka import clients
from headwater.kafka.errors import mapped, to_headwater
from headwater.kafka.offsets import EARLIEST, LATEST, delete_before, list_offsets
from headwater.kafka.reader import ReaderPool

RESTORE_KEY = b"!restore"
_HOLDS = "{}[{}] holds {}: a backup is restored into a cluster, or under a prefix, that holds none"


class Line:
    """The records of one partition in the order of their writing, and where the next must be."""

    __slots__ = ("_fail", "end", "next", "partition", "topic")

    def __init__(
        self, topic: str, partition: int, start: int, fail: Callable[[Exception], None]
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.next = start
        """Offset of the next record to be acknowledged."""
        self.end = start
        """Offset of the next record to be written."""
        self._fail = fail

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """A record was acknowledged, or was not."""
        if error is not None:
            self._fail(to_headwater(error, f"writing to {self.topic}"))
        elif message.offset() != self.next:
            self._fail(
                Conflict(
                    f"{self.topic}[{self.partition}]: a record came to offset {message.offset()} "
                    f"and not to {self.next}: somebody else writes there; nothing of this "
                    "restore counts, stop the others and run it again"
                )
            )
        else:
            self.next += 1


class Target:
    """Writes whole partitions, each by one producer that numbers its records itself.

    Without transactions nothing but records has an offset, so all offsets are known beforehand;
    every acknowledgement is held against them.
    """

    def __init__(self, config: Config, partitions: int) -> None:
        self.config = config
        self.partitions = partitions
        self._timeout_s = config.send_timeout.total_seconds()
        self._failure: Exception | None = None
        self._producer: Producer = clients.producer(config, linger_ms=20)
        self._admin: AdminClient = clients.admin(config)
        self._readers = ReaderPool(config, clients.UNDECIDED)
        self._lines: list[Line] = []

    def lines(self, topic: str) -> list[Line]:
        """All partitions of a topic, to write to from their ends on."""
        name, ends = self.config.topic(topic), self._offsets(topic, LATEST)
        lines = [Line(name, p, end, self._fail) for p, end in enumerate(ends)]
        self._lines += lines
        return lines

    def _offsets(self, topic: str, spec: OffsetSpec) -> list[int]:
        numbers = range(self.partitions)
        timeout_s = self.config.read_timeout.total_seconds()
        name = self.config.topic(topic)
        offsets = list_offsets(self._admin, name, numbers, spec, timeout_s)
        return [offsets[p] for p in numbers]

    def put(self, line: Line, key: bytes, value: bytes | None, timestamp: int | None) -> None:
        """Write the next record of a partition. ``timestamp``: ms since 1970, None for now."""
        when: dict[str, Any] = {} if timestamp is None else {"timestamp": timestamp}
        while True:
            try:
                self._producer.produce(
                    line.topic, value, key, line.partition, on_delivery=line, **when
                )
                break
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                raise to_headwater(error.args[0], f"writing to {line.topic}") from error
        line.end += 1
        self._producer.poll(0)
        if self._failure is not None:
            raise self._failure

    def settle(self) -> None:
        """Wait until everything is written, and at the offsets at which it had to be."""
        with mapped("writing"):
            left = self._producer.flush(self._timeout_s)
        if self._failure is not None:
            raise self._failure
        if left or any(line.next != line.end for line in self._lines):
            raise Unavailable(f"{left} records not written in {self._timeout_s:g} s")

    def empty_events(self) -> list[int]:
        """Make partitions of events that had records once and have none any more; their ends.

        So their old events were deleted, as retention deletes them, and whatever reads them looks
        for the past in snapshots.
        """
        name, lines = self.config.topic("events"), self.lines("events")
        for line in lines:
            if line.end == 0:
                self.put(line, RESTORE_KEY, b"", None)
        self.settle()
        ends = [line.end for line in lines]
        delete_before(self._admin, name, dict(enumerate(ends)), self._timeout_s)
        return ends

    def read(self, topic: str, partition: int) -> list[Message]:
        """Every record of a partition, decided or not."""
        with self._readers.lend() as reader:
            scan = reader.scan(self.config.topic(topic), partition, None)
            return [message for batch in scan for message in batch]

    def check_empty(self) -> None:
        """Raises :class:`NotEmpty` for a cluster that holds agents or events, unless all that it
        holds is what an unfinished restore has left.
        """
        firsts, ends = self._offsets("events", EARLIEST), self._offsets("events", LATEST)
        for partition, (first, end) in enumerate(zip(firsts, ends, strict=True)):
            if end == first:
                continue
            if end - first > 1 or self.read("events", partition)[0].key() != RESTORE_KEY:
                raise NotEmpty(_HOLDS.format(self.config.topic("events"), partition, "events"))
        ends = self._offsets("index", LATEST)
        if not any(ends) or self.unfinished():
            return
        for partition, end in enumerate(ends):
            held = {m.key() or b"" for m in self.read("index", partition)} if end else ()
            if not all(key.startswith(b"!") for key in held):
                raise NotEmpty(_HOLDS.format(self.config.topic("index"), partition, "agents"))

    def unfinished(self) -> bool:
        """Whether a restore was begun here that did not come to its end."""
        begun = [m.value() for m in self.read("checkpoints", 0) if m.key() == RESTORE_KEY]
        return bool(begun) and begun[-1] is not None

    def mark(self, value: bytes | None) -> None:
        """Note that a restore is under way, or (None) that it is finished."""
        self.put(self.lines("checkpoints")[0], RESTORE_KEY, value, None)
        self.settle()

    def close(self) -> None:
        """Give the connections back."""
        self._producer.purge()
        self._producer.close()
        self._readers.close()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
