"""How far a backup is, as whoever asks can see it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from headwater.backup.archive import Archive, end_of
from headwater.backup.format import TOPICS
from headwater.backup.names import Manifest, Offsets
from headwater.config import Config
from headwater.errors import Unavailable
from headwater.tiers import Tier
from headwater.topics import connect_topics

from .manifest import begin
from .source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStatus:
    """One partition of a backup. ``lag_records`` are those that it does not have yet,
    ``lag_seconds`` is how long ago the oldest of them was written (0: it has all); None where the
    cluster does not answer.
    """

    partition: int
    segments: int
    size_bytes: int
    reach: Offsets
    lag_records: int | None = None
    lag_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A backup; ``unreachable`` is why nothing can be said about its lag."""

    manifest: Manifest
    partitions: list[PartitionStatus]
    unreachable: str | None = None


def status(config: Config, tier: Tier) -> Status:
    """The state of a backup, beside the cluster if that can be reached.

    Raises :class:`PointNotFound` where there is no backup, and :class:`ConfigError` where it is
    one of other topics.
    """
    archive = Archive(tier)
    manifest = archive.manifest()
    try:
        source = Source(config, connect_topics(config.with_(create_topics=False)))
        try:
            begin(archive, source)
            parts = [_part(archive, p, source) for p in range(manifest.partitions)]
        finally:
            source.close()
    except Unavailable as error:
        parts = [_part(archive, p, None) for p in range(manifest.partitions)]
        return Status(manifest=manifest, partitions=parts, unreachable=str(error))
    return Status(manifest=manifest, partitions=parts)


def _part(archive: Archive, partition: int, source: Source | None) -> PartitionStatus:
    chain = archive.chain(partition)
    reach = end_of(chain)
    lag = _lag(source, partition, reach) if source is not None else (None, None)
    return PartitionStatus(
        partition=partition,
        segments=len(chain),
        size_bytes=sum(name.size_bytes for name in chain),
        reach=reach,
        lag_records=lag[0],
        lag_seconds=lag[1],
    )


def _lag(source: Source, partition: int, reach: Offsets) -> tuple[int, float]:
    """How many records are not in the backup, and how long the oldest has been there."""
    ends = source.ends(partition)
    count, oldest = 0, None
    for topic in range(len(TOPICS)):
        for kept in source.read(topic, partition, reach[topic], ends[topic]):
            count += 1
            oldest = min(oldest or kept.timestamp, kept.timestamp)
    return count, 0.0 if oldest is None else max(0.0, time.time() - oldest / 1000)
