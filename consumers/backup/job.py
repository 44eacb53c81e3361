"""The backup as it runs: shares the partitions with other instances, and copies its own."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from headwater.backup.archive import Archive
from headwater.backup.builder import SEGMENT_BYTES
from headwater.backup.format import INDEX
from headwater.config import Config
from headwater.errors import ConfigError, HeadwaterError, RetryableError
from headwater.kafka import clients
from headwater.kafka.errors import mapped
from headwater.tiers import Tier
from headwater.topics import connect_topics

from .copier import Copier, Copies
from .manifest import begin
from .pin import Pins
from .replica import Replica
from .source import Source

log = logging.getLogger("headwater.backup")

INTERVAL = timedelta(seconds=10)
_REPORT_S = 60.0
_POLL_S = 0.1
_NICE = 10
_NOTHING = clients.SCANS | {"queued.min.messages": 1, "fetch.wait.max.ms": 500}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStats:
    """One partition. ``lag_seconds``: all that was written before that is in the backup;
    ``lag_records``: how many records are not. None while unknown.
    """

    indexed: int | None
    snapshots: int | None
    checkpoints: int | None
    lag_records: int | None
    lag_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupStats:
    """What an instance has done since it was made, and the partitions that it has now."""

    copies: Copies
    partitions: dict[int, PartitionStats]


class Backup:
    """Copies to a tier what comes to snapshots, index and checkpoints, until it is stopped."""

    def __init__(
        self,
        config: Config,
        tier: Tier,
        *,
        interval: timedelta = INTERVAL,
        segment_bytes: int = SEGMENT_BYTES,
        replica: Tier | None = None,
    ) -> None:
        self._config = config
        self._archive = Archive(tier)
        self._interval_s = interval.total_seconds()
        self._segment_bytes = segment_bytes
        self._replica_tier = replica
        self._copiers: dict[int, Copier] = {}
        self._lags: dict[int, int] = {}
        self._retired = Copies()
        self._lock = threading.Lock()
        self._failure: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set. What is being copied then is finished.

        Raises :class:`ConfigError` where the tier holds a backup of other topics, and Headwater's
        errors for what no retry can mend.
        """
        partitions = connect_topics(self._config)
        with ExitStack() as stack:
            self._source = Source(self._config, partitions)
            stack.callback(self._source.close)
            self._pins = Pins(self._config)
            stack.callback(self._pins.close)
            begin(self._archive, self._source)
            ended = threading.Event()
            work = threading.Thread(target=self._work, args=(stop, ended), name="backup")
            consumer = self._join(partitions)
            stack.callback(consumer.close)
            work.start()
            log.info("backup %s started: every %g s", self._config.node_id, self._interval_s)
            try:
                while not stop.is_set() and not ended.is_set():
                    with mapped("staying in the group of backups"):
                        consumer.poll(_POLL_S)
            finally:
                stop.set()
                work.join()
        if self._failure is not None:
            raise self._failure
        log.info("backup %s stopped", self._config.node_id)

    def stats(self) -> BackupStats:
        """What was done so far, and how far each partition is."""
        copies, now = Copies(), time.monotonic()
        shown = {}
        with self._lock:
            copies.add(self._retired)
            for number, copier in sorted(self._copiers.items()):
                copies.add(copier.copies)
                seen, at = copier.seen, copier.complete_at
                shown[number] = PartitionStats(
                    indexed=None if seen is None else seen.indexed,
                    snapshots=None if seen is None else seen.snapshots,
                    checkpoints=None if seen is None else seen.checkpoints,
                    lag_records=self._lags.get(number),
                    lag_seconds=now - at if at else None,
                )
        return BackupStats(copies=copies, partitions=shown)

    def _join(self, partitions: int) -> Consumer:
        """Become a member of the group that shares the partitions; nothing is read through it."""

        def assign(consumer: Consumer, places: list[TopicPartition]) -> None:
            offsets = [TopicPartition(p.topic, p.partition, 0) for p in places]
            consumer.incremental_assign(offsets)
            consumer.pause(offsets)
            with self._lock:
                for number in (p.partition for p in places if p.partition < partitions):
                    self._copiers[number] = self._copier(number)
            log.info("assigned: partitions %s", [p.partition for p in places])

        def revoke(consumer: Consumer, places: list[TopicPartition]) -> None:
            # What is being copied now is finished meanwhile. Two may copy the same: their
            # segments hold the same, and only one way through them counts.
            with self._lock:
                for copier in (self._copiers.pop(p.partition, None) for p in places):
                    if copier is not None:
                        self._retired.add(copier.copies)
            consumer.incremental_unassign(places)
            log.info("revoked: partitions %s", [p.partition for p in places])

        group = f"{self._config.prefix}backup"
        consumer = clients.consumer(
            self._config, _NOTHING, group_id=group, group_protocol="consumer"
        )
        topic = self._config.topic("index")
        consumer.subscribe([topic], on_assign=assign, on_revoke=revoke, on_lost=revoke)
        return consumer

    def _copier(self, number: int) -> Copier:
        replica = Replica(self._replica_tier, self._source) if self._replica_tier else None
        return Copier(
            number,
            self._source,
            self._archive,
            self._pins,
            segment_bytes=self._segment_bytes,
            replica=replica,
        )

    def _work(self, stop: threading.Event, ended: threading.Event) -> None:
        reported = time.monotonic()
        try:
            while not stop.is_set():
                began = time.monotonic()
                self._pass(stop)
                if time.monotonic() - reported > _REPORT_S:
                    reported = time.monotonic()
                    self._report()
                stop.wait(self._wait_s(began))
        except BaseException as error:  # noqa: BLE001 - raised again by run()
            log.error("the backup stopped: %s", error)
            self._failure = error
        finally:
            ended.set()

    def _wait_s(self, began: float) -> float:
        # Partitions that have just come are not to wait for the whole interval.
        with self._lock:
            fresh = not self._copiers or any(not c.complete_at for c in self._copiers.values())
        whole = began + self._interval_s - time.monotonic()
        return max(0.0, min(whole, 0.25) if fresh else whole)

    def _pass(self, stop: threading.Event) -> None:
        with self._lock:
            copiers = list(self._copiers.values())
        # All indexes first: what an entry refers to may be another partition's.
        ends = {}
        for copier in copiers:
            try:
                ends[copier.partition] = self._source.end(INDEX, copier.partition)
            except RetryableError as error:
                log.warning("partition %d: %s", copier.partition, error)
        for copier in copiers:
            if stop.is_set():
                return
            if copier.partition in ends:
                self._copy(copier, ends[copier.partition])

    def _copy(self, copier: Copier, index_end: int) -> None:
        try:
            copier.copy(index_end)
            copier.tidy()
            self._look_at_lag(copier)
        except ConfigError:
            raise
        except RetryableError as error:
            log.warning("partition %d: not copied, trying again: %s", copier.partition, error)
        except HeadwaterError as error:
            # Something that is broken there; the other partitions go on, and its lag shows.
            log.error("partition %d: not copied: %s", copier.partition, error)

    def _look_at_lag(self, copier: Copier) -> None:
        ends, seen = self._source.ends(copier.partition), copier.seen
        if seen is not None:
            lag = sum(max(0, end - at) for end, at in zip(ends, seen, strict=True))
            with self._lock:
                self._lags[copier.partition] = lag

    def _report(self) -> None:
        stats = self.stats()
        lags = [p.lag_seconds for p in stats.partitions.values() if p.lag_seconds is not None]
        log.info(
            "backup: partitions %s, %d records in %d segments, %d bytes, lag %.1f s",
            list(stats.partitions), stats.copies.records, stats.copies.segments,
            stats.copies.stored_bytes, max(lags, default=0.0),
        )  # fmt: skip


def yield_to_others() -> None:
    """Let this process work when others do not: a backup may be late, agents may not."""
    if hasattr(os, "nice"):
        os.nice(_NICE)


def to_json(stats: BackupStats) -> dict[str, Any]:
    """The figures as a JSON object: those of ``copies`` at its top level, and ``partitions``."""
    copies = {name: getattr(stats.copies, name) for name in stats.copies.__slots__}
    shown = {
        str(number): {name: getattr(p, name) for name in p.__slots__}
        for number, p in stats.partitions.items()
    }
    seconds = [p.lag_seconds for p in stats.partitions.values()]
    known = [s for s in seconds if s is not None]
    whole = max(known) if known and len(known) == len(seconds) else None
    return {**copies, "lag_seconds": whole, "partitions": shown}
