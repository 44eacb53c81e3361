"""Topics after compaction: what stays of them, in bytes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cluster import Cluster, alter_topic, read_all
from benchmarks.load import Feeder
from headwater.config import Config

# Compaction now instead of after ten minutes; only records in closed segments are compacted.
_SETTLE = {"min.compaction.lag.ms": "0", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "100"}
_FILLER = b"!bench-filler"
_SETTLE_S = 40.0
_LOOKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Records of a topic, their uncompressed key and value bytes, and bytes on disk."""

    records: int
    bytes: int
    disk_bytes: int


def size_of(kafka: Cluster, config: Config, name: str) -> Size:
    """One topic's size, without what :func:`settled` writes to it."""
    topic = config.topic(name)
    records = [
        len(m.key() or b"") + len(m.value() or b"")
        for m in read_all(config, topic, range(config.partitions or 0))
        if m.key() != _FILLER
    ]
    return Size(records=len(records), bytes=sum(records), disk_bytes=kafka.disk_bytes(topic))


def settled(
    kafka: Cluster, config: Config, names: Sequence[str], *, patience_s: float = _SETTLE_S
) -> dict[str, Size]:
    """The topics' sizes once compaction no longer makes them smaller, or after ``patience_s``:
    there may be nothing to compact.
    """
    feeders = [Feeder(config, config.topic(name)) for name in names]
    for name in names:
        alter_topic(config, config.topic(name), _SETTLE)
    deadline = time.monotonic() + patience_s
    seen: list[int] = []
    while True:
        for feeder in feeders:
            # Writing closes the segments behind it.
            feeder.send([(p, _FILLER, b"") for p in range(config.partitions or 0)])
        time.sleep(0.5)
        sizes = {name: size_of(kafka, config, name) for name in names}
        seen.append(sum(size.bytes for size in sizes.values()))
        # Smaller than at first, and the same through several looks of the cleaner.
        if seen[-1] < seen[0] and len(set(seen[-_LOOKS:])) == 1 and len(seen) > _LOOKS:
            return sizes
        if time.monotonic() > deadline:
            return sizes
