"""What a backup reads: the records of index, snapshots and checkpoints that belong into it."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import Message

from headwater.backup.format import INDEX, TOPICS, Kept
from headwater.backup.names import Manifest, Offsets
from headwater.config import Config
from headwater.kafka import clients
from headwater.kafka.errors import mapped
from headwater.kafka.reader import Reader, ReaderPool
from headwater.log.snapshots import POSITION_KEY
from headwater.wire import codec

# Partitions are read one after the other, each only as far as it has grown.
_TUNING = clients.SCANS | {"queued.max.messages.kbytes": 16 * 1024}


class Source:
    """The cluster that is backed up. Safe for use by several threads."""

    def __init__(self, config: Config, partitions: int) -> None:
        self.config = config
        self.partitions = partitions
        self._readers = ReaderPool(config, _TUNING)

    def end(self, topic: int, partition: int) -> int:
        """The last stable offset: everything below is decided."""
        with self._readers.lend() as reader:
            return reader.range(self.config.topic(TOPICS[topic]), partition)[1]

    def ends(self, partition: int) -> Offsets:
        """Those of the three topics of a partition, the index's first: what an entry names that
        is below its end is below the others' ends, give or take a transaction.
        """
        return Offsets(*(self.end(topic, partition) for topic in range(len(TOPICS))))

    def read(self, topic: int, partition: int, start: int, until: int) -> Iterator[Kept]:
        """What belongs into a backup of the records from ``start`` to before ``until``."""
        if start >= until:
            return
        with self._readers.lend() as reader:
            for batch in self._batches(reader, topic, partition, start, until):
                for message in batch:
                    key = message.key() or b""
                    # Who owns a partition, and how far a backup is, is of this cluster alone.
                    if key.startswith(b"!") and not (topic == INDEX and key == POSITION_KEY):
                        continue
                    yield Kept(
                        topic, message.offset() or 0, message.timestamp()[1], key, message.value()
                    )

    def _batches(
        self, reader: Reader, topic: int, partition: int, start: int, until: int
    ) -> Iterator[list[Message]]:
        name = self.config.topic(TOPICS[topic])
        # From the start there may be less than there was: what was compacted has left no trace.
        return reader.scan(name, partition, start or None, until)

    def newest(self, topic: int, partition: int, start: int, until: int) -> dict[bytes, Kept]:
        """The newest of each key, in the order of their offsets."""
        found: dict[bytes, Kept] = {}
        for kept in self.read(topic, partition, start, until):
            found.pop(kept.key, None)
            found[kept.key] = kept
        return found

    def fetch(self, partition: int, offset: int) -> bytes | None:
        """The value at a place of snapshots."""
        with self._readers.lend() as reader:
            message = reader.get(self.config.topic("snapshots"), partition, offset)
        return None if message is None else message.value()

    def manifest(self) -> Manifest:
        """Of what a backup of this is."""
        admin = clients.admin(self.config)
        with mapped(f"asking {self.config.bootstrap_servers} who it is"):
            metadata = admin.list_topics(timeout=self.config.read_timeout.total_seconds())
        return Manifest(
            partitions=self.partitions,
            prefix=self.config.prefix,
            cluster_id=str(metadata.cluster_id),
            created_at=self._created_at(),
        )

    def _created_at(self) -> int:
        with self._readers.lend() as reader:
            for batch in reader.scan(self.config.topic("layout"), 0, None):
                for message in batch:
                    return int(codec("Layout").decode(message.value() or b"")["created_at"])
        return 0

    def close(self) -> None:
        """Give the connections back."""
        self._readers.close()
