"""One pass over all partitions, for a scheduler that calls again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from headwater.backup.archive import Archive
from headwater.backup.builder import SEGMENT_BYTES
from headwater.backup.format import INDEX
from headwater.config import Config
from headwater.tiers import Tier
from headwater.topics import connect_topics

from .copier import Copier, Copies
from .manifest import begin
from .pin import Pins
from .replica import Replica
from .source import Source


def run_once(
    config: Config,
    tier: Tier,
    *,
    segment_bytes: int = SEGMENT_BYTES,
    replica: Tier | None = None,
    advance: Callable[[str], None] = lambda text: None,
) -> dict[int, Copies]:
    """Copy everything that is there now and is not in the backup; by partition.

    Raises as :meth:`~.job.Backup.run` does, and :class:`Unavailable` where brokers do not answer.
    """
    archive = Archive(tier)
    with ExitStack() as stack:
        source = Source(config, connect_topics(config.with_(create_topics=False)))
        stack.callback(source.close)
        pins = Pins(config)
        stack.callback(pins.close)
        begin(archive, source)
        ends = [source.end(INDEX, p) for p in range(source.partitions)]
        done: dict[int, Copies] = {}
        for partition, end in enumerate(ends):
            advance(f"partition {partition} of {source.partitions}")
            copier = Copier(
                partition,
                source,
                archive,
                pins,
                segment_bytes=segment_bytes,
                replica=Replica(replica, source) if replica is not None else None,
            )
            copier.copy(end)
            copier.tidy()
            done[partition] = copier.copies
        return done


def release(config: Config) -> int:
    """Say that there is no backup any more, so that retention waits for none; the partitions."""
    partitions = connect_topics(config.with_(create_topics=False))
    pins = Pins(config)
    try:
        for partition in range(partitions):
            pins.write(partition, None)
    finally:
        pins.close()
    return partitions
