"""What retention asks of the brokers: where partitions end, and to delete records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from confluent_kafka import Message
from confluent_kafka.admin import AdminClient, OffsetSpec

from headwater.config import Config
from headwater.kafka import clients
from headwater.kafka.offsets import EARLIEST, LATEST, delete_before, list_offsets
from headwater.kafka.reader import ReaderPool


class Broker:
    """Reads up to fixed ends of partitions. Not for use by two threads."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._admin: AdminClient = clients.admin(config)
        self._timeout_s = config.read_timeout.total_seconds()
        self._decided = ReaderPool(config, clients.SCANS)
        self._undecided = ReaderPool(config, clients.UNDECIDED)

    def close(self) -> None:
        """Give the connections back."""
        self._decided.close()
        self._undecided.close()

    def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The offset behind the last record of each partition, whether it is decided or not."""
        return self._offsets(topic, partitions, LATEST)

    def starts(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The offset of the first record of each partition."""
        return self._offsets(topic, partitions, EARLIEST)

    def since(self, topic: str, partitions: Iterable[int], at_ms: int) -> dict[int, int]:
        """The first offset of each partition whose record is not older than ``at_ms`` (ms since
        1970); its end where all are.
        """
        numbers = list(partitions)
        ends = self.ends(topic, numbers)
        found = self._offsets(topic, numbers, OffsetSpec.for_timestamp(max(at_ms, 0)))
        return {p: offset if offset >= 0 else ends[p] for p, offset in found.items()}

    def _offsets(self, topic: str, partitions: Iterable[int], spec: OffsetSpec) -> dict[int, int]:
        name = self._config.topic(topic)
        return list_offsets(self._admin, name, partitions, spec, self._timeout_s)

    def read(
        self, topic: str, partition: int, start: int | None, end: int, *, decided: bool = True
    ) -> Iterator[Message]:
        """The records from ``start`` (None: the first there is) to before ``end``.

        With ``decided`` it waits for transactions that are open there, and leaves out what was
        aborted; without, it shows everything that was ever written.
        """
        if start is not None and start >= end:
            return
        pool = self._decided if decided else self._undecided
        with pool.lend() as reader:
            for batch in reader.scan(self._config.topic(topic), partition, start, end):
                yield from batch

    def delete_events(self, offsets: Mapping[int, int]) -> None:
        """Delete the records of events below an offset of each partition."""
        name = self._config.topic("events")
        delete_before(self._admin, name, offsets, self._timeout_s)
