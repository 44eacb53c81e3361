"""The compactor: one instance of those that share the partitions of events.

One thread polls, admits and decides; taking partitions over and committing, which wait for
brokers, are done in a pool, so that the partitions do not wait for each other.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from headwater.config import Config
from headwater.kafka import clients
from headwater.kafka.errors import mapped, to_headwater
from headwater.kafka.offsets import EARLIEST, told_offsets
from headwater.topics import connect_topics

from .cache import SnapshotCache
from .commit import Counts, Writing
from .lag import Lag
from .partition import Bounds, Partition, Timing
from .planner import Limits
from .policy import CheckpointPolicy
from .store import KafkaStore, Readers, Store
from .strategy import Outweigh, Strategy
from .throttle import Throttle

log = logging.getLogger("headwater.compactor")

_BATCH = 2000
_FULL_S = 0.5
_FULL_LOOK_S = 0.002
_REPORT_S = 30.0
_LAG_S = 1.0
_FIRST_S = 0.5
_GONE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})
# Fewer bytes held ahead for each partition than a reader of one partition alone would take; and
# with enough of them, no looking out all the time for room for more: that costs 15 us an event.
_TUNING = clients.SCANS | {
    "queued.max.messages.kbytes": 16 * 1024,
    "fetch.queue.backoff.ms": 50,
    "fetch.wait.max.ms": 50,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStats:
    """One partition: what it is at, and how far. ``lag`` in records, None while unknown."""

    phase: str
    parked: bool
    next_offset: int | None
    committed_offset: int | None
    lag: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactorStats:
    """What an instance has done since it was made, and the partitions that it has now."""

    counts: Counts
    partitions: dict[int, PartitionStats]

    @property
    def lag(self) -> int | None:
        """Records not yet committed in all partitions; None while one is unknown."""
        lags = [p.lag for p in self.partitions.values()]
        return None if None in lags else sum(lag for lag in lags if lag is not None)


class Compactor:
    """Follows events and keeps snapshots and index up to date, exactly once.

    ``run`` blocks until its ``stop`` event is set; ``stats`` may be asked from any thread.
    """

    def __init__(
        self,
        config: Config,
        *,
        strategy: Strategy | None = None,
        timing: Timing | None = None,
        bounds: Bounds | None = None,
        policy: CheckpointPolicy | None = None,
        cache_bytes: int = 128 << 20,
    ) -> None:
        self._config = config
        self._timing = timing or Timing()
        self._bounds = bounds or Bounds(segment_bytes=config.max_change_bytes)
        self._writing = Writing(
            strategy=strategy or Outweigh(),
            cache=SnapshotCache(cache_bytes),
            limits=Limits(
                full_bytes=config.max_state_bytes, increment_bytes=config.max_change_bytes
            ),
            node_id=config.node_id,
            policy=policy or CheckpointPolicy(),
        )
        self._topic = config.topic("events")
        self._live: dict[int, Partition] = {}
        self._reading: set[int] = set()
        self._seek: set[int] = set()
        self._full_since: dict[int, float] = {}
        self._retired = Counts()
        self._lag = Lag()
        self._report = Throttle(_REPORT_S)
        self._lag_due = Throttle(_LAG_S)
        self._trouble = Throttle(_REPORT_S)
        self._partitions = 0
        self._reported = 0

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; then commit what is pending and leave the group.

        Raises Headwater's errors for what no retry can mend: settings, topics, access rights.
        """
        self._partitions = connect_topics(self._config)
        self._readers = Readers(self._config)
        self._pool = ThreadPoolExecutor(2 * self._partitions + 4, "compactor")
        # Asked now, so that it is connected when it matters.
        self._admin = clients.admin(self._config)
        self._firsts(range(self._partitions))
        self._consumer = self._make_consumer()
        self._lag.ask = self._end_of
        log.info(
            "compactor %s started: %d partitions, commits every %g ms",
            self._config.node_id, self._partitions, self._timing.commit_s * 1000,
        )  # fmt: skip
        try:
            self._consumer.subscribe(
                [self._topic],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            while not stop.is_set():
                self._dispatch(self._poll())
                self._tend(time.monotonic())
        finally:
            self._shut_down()

    def stats(self) -> CompactorStats:
        """What was done so far, and how far each partition is."""
        counts = Counts()
        counts.add(self._retired)
        shown = {}
        for number, partition in sorted(self._live.copy().items()):
            counts.add(partition.counts)
            end, committed = self._lag.ends.get(number), partition.committed_offset
            shown[number] = PartitionStats(
                phase=partition.phase.value,
                parked=partition.parked,
                next_offset=partition.next_offset,
                committed_offset=committed,
                lag=max(0, end - committed) if end is not None and committed is not None else None,
            )
        return CompactorStats(counts=counts, partitions=shown)

    def _make_consumer(self) -> Consumer:
        return clients.consumer(
            self._config,
            _TUNING,
            group_id=f"{self._config.prefix}compactor",
            group_protocol="consumer",
        )

    def _open_store(self, partition: int) -> Store:
        return KafkaStore(self._config, partition, self._readers)

    def _range_of(self, number: int) -> tuple[int, int]:
        # By a reader: asked by a consumer that is in a group, a leader's answer was seen to take
        # two minutes, whatever the timeout.
        with self._readers.points.lend() as reader:
            return reader.range(self._topic, number)

    def _end_of(self, number: int) -> int:
        return self._range_of(number)[1]

    def _poll(self) -> list[Message]:
        now = time.monotonic()
        if self._full_since:
            time.sleep(_FULL_LOOK_S)
            return []
        idle = min((p.idle_s(now) for p in self._live.values()), default=0.1)
        with mapped("reading events"):
            first = self._consumer.poll(min(idle, 0.1))
            if first is None:
                return []
            # consume(n, t) waits for n records or the whole of t, so it only drains.
            return [first, *self._consumer.consume(_BATCH, 0)]

    def _dispatch(self, messages: Iterable[Message]) -> None:
        by_partition: defaultdict[int | None, list[Message]] = defaultdict(list)
        for message in messages:
            if message.error() is None:
                by_partition[message.partition()].append(message)
            else:
                self._note(message)
        for number, records in by_partition.items():
            if number in self._reading and not self._live[number].take(records):
                log.warning("events[%d]: a record is missing, reading again", number)
                self._pause(number)
                self._seek.add(number)

    def _note(self, message: Message) -> None:
        error, number = message.error(), message.partition()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            return
        if error.code() in _GONE:
            if number in self._reading:
                self._live[number].park(f"the log does not hold that offset: {error.str()}")
        elif error.fatal():
            raise to_headwater(error, "reading events")
        elif self._trouble.allow() is not None:
            log.warning("reading events: %s", error)

    def _tend(self, now: float) -> None:
        for number, partition in self._live.items():
            if partition.tend(now):
                self._seek.add(number)
            if partition.wants_records:
                self._full_since.pop(number, None)
                if number not in self._reading:
                    self._seek.add(number)
            elif number in self._reading and not self._is_full_briefly(partition, now):
                self._pause(number)
        for number in tuple(self._seek):
            self._start_reading(number)
        if self._live and self._lag_due.allow() is not None:
            self._look_at_lag()
        if self._live and self._report.allow() is not None:
            self._log_progress()

    def _is_full_briefly(self, partition: Partition, now: float) -> bool:
        """Whether a commit will soon make room: then all wait for it, for a pause would throw away
        what was fetched.
        """
        return partition.is_full and (
            now - self._full_since.setdefault(partition.number, now) < _FULL_S
        )

    def _place(self, number: int, offset: int = 0) -> TopicPartition:
        return TopicPartition(self._topic, number, offset)

    def _pause(self, number: int) -> None:
        self._reading.discard(number)
        self._full_since.pop(number, None)
        self._consumer.pause([self._place(number)])

    def _start_reading(self, number: int) -> None:
        offset = self._live[number].next_offset
        if offset is None:
            self._seek.discard(number)
            return
        try:
            # In this order: what is fetched between the two is thrown away by the second.
            self._consumer.resume([self._place(number)])
            self._consumer.seek(self._place(number, offset))
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:
                raise to_headwater(error.args[0], f"reading events[{number}]") from error
            return  # the assignment has not reached the fetcher yet
        self._seek.discard(number)
        self._reading.add(number)

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        # Nothing is read before a partition's position is known. That takes a while, and the
        # others go on meanwhile. The offset is an absolute one: a logical one is asked for at the
        # broker, and the answer can come after the seek, and win. It is one that the log holds:
        # after a fetch that came before the pause and failed, no seek is taken any more.
        places = self._firsts([tp.partition for tp in assigned])
        consumer.incremental_assign(places)
        consumer.pause(places)
        for number in (tp.partition for tp in assigned):
            if number >= self._partitions:
                log.warning("events[%d] is beyond the layout's partitions and stays unused", number)
                continue
            self._live[number] = Partition(
                number,
                self._partitions,
                self._open_store,
                self._writing,
                self._pool,
                self._timing,
                self._bounds,
            )
        log.info("assigned: events%s", [tp.partition for tp in assigned])

    def _firsts(self, numbers: Iterable[int]) -> list[TopicPartition]:
        """Where partitions begin now; 0 for those whose leader does not tell at once."""
        asked = list(numbers)
        told = told_offsets(self._admin, self._topic, asked, EARLIEST, _FIRST_S)
        if len(told) < len(asked):
            log.debug("where events%s begin is not known", sorted(set(asked) - told.keys()))
        return [self._place(number, told.get(number, 0)) for number in asked]

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        gone = self._forget(revoked)
        # Before the group gives them to somebody else: they begin where this ends.
        self._await([partition.close() for partition in gone])
        self._retire(gone)
        consumer.incremental_unassign(revoked)
        log.info("revoked: events%s", [tp.partition for tp in revoked])

    def _on_lost(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        gone = self._forget(lost)
        for partition in gone:
            partition.drop()
        self._retire(gone)
        consumer.incremental_unassign(lost)
        log.warning("lost: events%s", [tp.partition for tp in lost])

    def _forget(self, places: Iterable[TopicPartition]) -> list[Partition]:
        gone = []
        for number in (tp.partition for tp in places):
            self._reading.discard(number)
            self._seek.discard(number)
            self._full_since.pop(number, None)
            self._lag.forget(number)
            partition = self._live.pop(number, None)
            if partition is not None:
                gone.append(partition)
        return gone

    def _retire(self, gone: Iterable[Partition]) -> None:
        for partition in gone:
            self._retired.add(partition.counts)

    def _await(self, endings: list[Future[None]]) -> None:
        wait(endings, timeout=self._timing.close_s)

    def _look_at_lag(self) -> None:
        offsets = {n: p.committed_offset for n, p in self._live.items()}
        # Only so that tools can show the lag: where the compactor starts is in the index.
        places = [self._place(n, offset) for n, offset in offsets.items() if offset is not None]
        try:
            if places:
                self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            log.debug("group offsets not committed: %s", error)
        for number in self._lag.stalled({n: self._live[n].next_offset for n in self._reading}):
            log.warning("events[%d]: nothing comes though there is more, reading again", number)
            self._pause(number)
            self._seek.add(number)
        self._lag.look(self._pool, self._live)

    def _log_progress(self) -> None:
        stats = self.stats()
        counts = stats.counts
        if counts.events == self._reported:
            return
        self._reported = counts.events
        log.info(
            "compactor: partitions %s, lag %s, %d events, %d commits, %d full, %d incremental, "
            "%d merges, %d dead letters",
            list(stats.partitions), stats.lag, counts.events, counts.commits, counts.fulls,
            counts.increments, counts.merges, counts.dead_letters,
        )  # fmt: skip

    def _shut_down(self) -> None:
        gone = self._forget([self._place(number) for number in self._live])
        self._await([partition.close() for partition in gone])
        self._retire(gone)
        self._consumer.close()
        self._pool.shutdown(wait=True)
        self._readers.close()
        log.info("compactor %s stopped", self._config.node_id)


def to_json(stats: CompactorStats) -> dict[str, Any]:
    """The figures as a JSON object: those of ``counts`` at its top level, and ``partitions``."""
    counts = {name: getattr(stats.counts, name) for name in stats.counts.__slots__}
    partitions = {
        str(number): {name: getattr(p, name) for name in p.__slots__}
        for number, p in stats.partitions.items()
    }
    return {**counts, "lag": stats.lag, "partitions": partitions}
