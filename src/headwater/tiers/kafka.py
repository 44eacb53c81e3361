"""Values in two compacted topics: chunks below the brokers' message limit, and manifests of them.

A save writes its chunks under an id of its own, waits for the brokers to have them, and only then
writes the manifest that makes them the key's value; the one partition of the manifests puts all
saves of all processes into one order. Chunks of the manifest before it get tombstones. What a
process that dies leaves behind are chunks that no manifest names, which nobody reads and
``sweep`` removes.
"""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta

from confluent_kafka import Message

from headwater.config import Config
from headwater.errors import Unprovable
from headwater.kafka import clients
from headwater.kafka.reader import Reader, ReaderPool
from headwater.tiers.kafka_index import ManifestIndex
from headwater.tiers.kafka_topics import make_topics
from headwater.tiers.kafka_writer import Record, Writer
from headwater.tiers.manifest import Manifest, chunk_key, runs, save_id_of
from headwater.tiers.store import Entry

#: With its key and the batch around it, below the 1,048,588 bytes that brokers take by default.
CHUNK_BYTES = 900_000


class KafkaStore:
    """Two topics, ``NAME.manifests`` and ``NAME.chunks``."""

    def __init__(self, config: Config, name: str, partitions: int | None = None) -> None:
        self.name = f"kafka {config.bootstrap_servers}, topics {name}.*"
        self._config = config
        self._chunks = f"{name}.chunks"
        self._manifests = f"{name}.manifests"
        self._partitions = make_topics(config, self._manifests, self._chunks, partitions)
        self._index = ManifestIndex(config, self._manifests)
        self._writer = Writer(config, (self._manifests, self._chunks))
        self._readers = ReaderPool(config, clients.POINT_READS)

    def put(self, key: str, sealed: bytes) -> None:
        """Chunks first, the manifest once they are there, then tombstones for what it replaces."""
        save_id = uuid.uuid4().bytes
        partition = random.randrange(self._partitions)
        pieces = [sealed[i : i + CHUNK_BYTES] for i in range(0, len(sealed), CHUNK_BYTES)]
        offsets = self._writer.write(
            [
                Record(self._chunks, partition, chunk_key(save_id, number), piece)
                for number, piece in enumerate(pieces)
            ]
        )
        manifest = Manifest(
            save_id=save_id, partition=partition, offsets=offsets, size_bytes=len(sealed)
        )
        self._publish(key, manifest.encode())

    def get(self, key: str) -> bytes | None:
        """The chunks that the newest manifest names, as far as they are there."""
        while True:
            raw = self._index.get(key)
            if raw is None:
                return None
            manifest = Manifest.decode(raw)
            found = b"" if manifest is None else self._join(manifest)
            # Whatever is missing may have been replaced since, a long pause ago.
            if manifest is not None and len(found) == manifest.size_bytes:
                return found
            if self._index.get(key) == raw:
                return found

    def remove(self, key: str) -> None:
        """A tombstone for the manifest, then for its chunks."""
        if self._index.get(key) is not None:
            self._publish(key, None)

    def scan(self, prefix: str) -> Iterator[Entry]:
        """The manifests as they are now."""
        for key, (raw, saved_at_ms) in sorted(self._index.all().items()):
            if key.startswith(prefix):
                manifest = Manifest.decode(raw)
                size_bytes = manifest.size_bytes if manifest else 0
                yield Entry(key=key, size_bytes=size_bytes, saved_at_ms=saved_at_ms)

    def sweep(self, older_than: timedelta) -> int:
        """Read all chunks, and bury those that no manifest names and that are old enough."""
        found: dict[tuple[int, bytes], int] = {}
        reader = Reader(self._config, clients.SCANS)
        try:
            for partition in range(self._partitions):
                self._take_stock(reader, partition, older_than, found)
        finally:
            reader.close()
        named = {m.save_id for raw, _ in self._index.all().values() if (m := Manifest.decode(raw))}
        orphans = {at: size for at, size in found.items() if save_id_of(at[1]) not in named}
        self._writer.write([Record(self._chunks, *at, None) for at in orphans])
        return sum(orphans.values())

    def close(self) -> None:
        """Wait for tombstones under way, then give the connections back."""
        self._writer.close()
        self._index.close()
        self._readers.close()

    def _publish(self, key: str, manifest: bytes | None) -> None:
        record = Record(self._manifests, 0, key.encode(), manifest)
        offset = self._writer.write([record])[0]
        # Of two that write at once, each buries what stands right before its own manifest.
        replaced = self._index.replaced_by(offset)
        before = Manifest.decode(replaced) if replaced is not None else None
        if before is not None:
            self._writer.send(
                [
                    Record(self._chunks, before.partition, chunk_key(before.save_id, number), None)
                    for number in range(len(before.offsets))
                ]
            )

    def _join(self, manifest: Manifest) -> bytes:
        wanted = {
            offset: chunk_key(manifest.save_id, number)
            for number, offset in enumerate(manifest.offsets)
        }
        found: list[Message] = []
        # What the log has lost is missing in the value, and its seal shows that.
        with contextlib.suppress(Unprovable), self._readers.lend() as reader:
            for first, end in runs(manifest.offsets):
                for batch in reader.scan(self._chunks, manifest.partition, first, end):
                    found += [m for m in batch if wanted.get(m.offset() or 0) == m.key()]
        return b"".join(message.value() or b"" for message in found)

    def _take_stock(
        self,
        reader: Reader,
        partition: int,
        older_than: timedelta,
        found: dict[tuple[int, bytes], int],
    ) -> None:
        """Note the size of every chunk of a partition that is old enough."""
        newest_ms = (time.time() - older_than.total_seconds()) * 1000
        for batch in reader.scan(self._chunks, partition, None):
            for message in batch:
                at = (partition, message.key() or b"")
                value = message.value()
                if value is None:
                    found.pop(at, None)
                elif message.timestamp()[1] <= newest_ms:
                    found[at] = len(value)
