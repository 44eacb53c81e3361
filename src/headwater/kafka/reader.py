"""Reads of partitions: a record at an offset, or a range to the end of the log."""

from __future__ import annotations

import logging
import queue
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from headwater.config import Config
from headwater.errors import RetryableError, TopicMismatch, Unavailable, Unprovable
from headwater.kafka.clients import FOLLOWING, LeaderSearch, consumer
from headwater.kafka.errors import is_retryable, mapped, to_headwater

log = logging.getLogger("headwater.reader")

_BATCH = 2000
_POLL_S = 0.25
_LOOK_S = 0.05
_ASK_S = 0.5
# A leader that answers does so within milliseconds; one that is gone is asked for so long first.
_FIRST_ASK_S = 0.25
_AGAIN_S = 0.02
_BUSY_S = 1.0
# Between an agent's records of two transactions lie their markers, and a record of others.
_NEAR = 4
# For so long after a topic was made there are brokers that have not heard of it.
_NEW_TOPIC_S = 15.0


class Reader:
    """One consumer, assigned by hand to what is read. Not for use by two threads."""

    def __init__(self, config: Config, tuning: dict[str, Any]) -> None:
        self._consumer: Consumer = consumer(config, tuning)
        self._timeout_s = config.read_timeout.total_seconds()
        self._asked: set[str] = set()
        self._moved: set[str] = set()

    def doubt_leaders(self) -> None:
        """Ask for the leaders of each topic before it is read again: they may have moved."""
        self._moved |= self._asked
        self._asked.clear()

    def scan(
        self, topic: str, partition: int, start: int | None, until: int | None = None
    ) -> Iterator[list[Message]]:
        """Batches of the records at ``start`` (None: the earliest) and after, in order.

        Ends after the record before offset ``until`` or, where that is None, at the last stable
        offset as the leader tells it; with ``until`` it waits for the log to grow that far.
        Raises :class:`Unprovable` where records at ``start`` were deleted, and
        :class:`Unavailable` when the broker does not answer in ``Config.read_timeout``.
        """
        if until is not None and start is not None and start >= until:
            return
        where = f"reading {topic}[{partition}] from {start if start is not None else 'the start'}"
        stop = until
        if start is None or until is None or topic not in self._asked:
            # Asking is quick; a logical start can take librdkafka half a second, and the end of
            # a partition shows only once a fetch comes back empty.
            first, end = self.range(topic, partition)
            start = first if start is None else start
            stop = end if until is None else until
            if start >= stop:
                return
        assert stop is not None
        with self._assigned(topic, {partition: start}, where):
            for _, batch, _ in self._read(topic, {partition: stop}, until is None, where):
                yield batch

    def scan_many(
        self, topic: str, spans: Mapping[int, tuple[int, int | None]]
    ) -> Iterator[tuple[int, list[Message], bool]]:
        """Batches of several partitions that are read side by side, as they come: the partition,
        records, and whether that was all of it. ``spans`` has for each partition the offset to
        begin at and the one to end before; None for the end of what its leader gives: after a
        failover that can be less than another leader gave. Raises what :meth:`scan` does.
        """
        where = f"reading {topic}{sorted(spans)}"
        if topic not in self._asked:
            self._asked.add(topic)
            self._moved.discard(topic)
            self._look_for_leaders(topic)
        left = dict(spans)
        for partition, (start, stop) in spans.items():
            if stop is not None and start >= stop:
                del left[partition]
                yield partition, [], True
        stops = {p: stop for p, (_, stop) in left.items()}
        with self._assigned(topic, {p: start for p, (start, _) in left.items()}, where):
            yield from self._read(topic, stops, False, where)

    @contextmanager
    def _assigned(self, topic: str, starts: Mapping[int, int], where: str) -> Iterator[None]:
        with mapped(where):
            self._consumer.assign([TopicPartition(topic, p, at) for p, at in starts.items()])
        try:
            yield
        finally:
            self._consumer.unassign()

    def _read(
        self, topic: str, stops: Mapping[int, int | None], whole: bool, where: str
    ) -> Iterator[tuple[int, list[Message], bool]]:
        """Batches up to where each partition stops, None for its end; ``whole``: and what came
        along with the last.
        """
        left = dict(stops)
        began = heard = time.monotonic()
        search = LeaderSearch(self._consumer)
        while left:
            batches, ends = self._next(where)
            now = time.monotonic()
            if not batches and not ends:
                search.waited(topic, now - heard)
                if now > heard + self._timeout_s:
                    raise Unavailable(f"{where}: no answer in {self._timeout_s:g} s; try again")
            if None in left.values() and now > began + _BUSY_S:
                # It grows as fast as it is read, and no fetch comes back empty.
                left |= {p: self.range(topic, p)[1] for p in left if left[p] is None}
            for partition, batch in batches.items():
                if partition not in left:
                    continue  # it comes on while others are waited for
                stop = left[partition]
                done = stop is not None and (batch[-1].offset() or 0) >= stop - 1
                if done:
                    self._leave(topic, partition, left, where)
                    if not whole:
                        batch = [m for m in batch if (m.offset() or 0) < (stop or 0)]
                yield partition, batch, done
            # Markers of transactions have offsets, too, and are never returned.
            for partition in [p for p in ends if p in left and ends[p] >= (left[p] or 0)]:
                self._leave(topic, partition, left, where)
                yield partition, [], True
            if batches:  # not before: what others did with them is no silence
                heard = time.monotonic()

    def _leave(self, topic: str, partition: int, left: dict[int, int | None], where: str) -> None:
        del left[partition]
        if left:  # it would go on being fetched, again and again, while others are waited for
            with mapped(where):
                self._consumer.incremental_unassign([TopicPartition(topic, partition)])

    def get(self, topic: str, partition: int, offset: int) -> Message | None:
        """The record at ``offset``, or None where there is none (compacted, deleted, or past the
        end).
        """
        try:
            for batch in self.scan(topic, partition, offset, offset + 1):
                for message in batch:
                    if message.offset() == offset:
                        return message
        except Unprovable as error:
            log.debug("no such record: %s", error)
        return None

    def first_after(self, topic: str, partition: int, time_ms: int) -> int | None:
        """Offset of the earliest record with a timestamp after ``time_ms`` (ms since 1970), or
        None if there is none.
        """
        asked = TopicPartition(topic, partition, time_ms + 1)
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                with mapped(f"looking for a time in {topic}[{partition}]"):
                    (found,) = self._consumer.offsets_for_times([asked], timeout=self._timeout_s)
            except RetryableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_AGAIN_S)
                self._look_for_leaders(topic)
            else:
                return found.offset if found.offset >= 0 else None

    def get_many(self, topic: str, partition: int, offsets: Iterable[int]) -> dict[int, bytes]:
        """The values of the records at ``offsets``, those left out where there is none.

        Records that lie side by side are read in one go: each beginning costs a millisecond.
        """
        found: dict[int, bytes] = {}
        for run in runs(offsets, _NEAR):
            wanted = frozenset(run)
            for batch in self.scan(topic, partition, run[0], run[-1] + 1):
                for message in batch:
                    offset = message.offset() or 0
                    if offset in wanted:
                        found[offset] = message.value() or b""
        return found

    def range(self, topic: str, partition: int) -> tuple[int, int]:
        """The earliest offset and the last stable one, as the partition's leader tells them."""
        where = f"asking for the ends of {topic}[{partition}]"
        asked = TopicPartition(topic, partition)
        # A topic that is assigned before it was ever asked for is looked up only a second later.
        self._asked.add(topic)
        if topic in self._moved:
            self._moved.remove(topic)
            self._look_for_leaders(topic)
        deadline = time.monotonic() + self._timeout_s
        patience_s = _FIRST_ASK_S
        while True:
            cause = KafkaError(KafkaError._TIMED_OUT)
            try:
                offsets = cast(
                    "tuple[int, int] | None",  # None, whatever the stubs say, where time ran out
                    self._consumer.get_watermark_offsets(asked, timeout=patience_s),
                )
            except KafkaException as error:
                cause = error.args[0]
            else:
                if offsets is not None:
                    return offsets
            left = deadline - time.monotonic()
            fault = to_headwater(cause, where)
            new = isinstance(fault, TopicMismatch) and self._timeout_s - left < _NEW_TOPIC_S
            if left <= 0 or not (new or isinstance(fault, RetryableError)):
                raise fault
            time.sleep(_AGAIN_S)
            self._look_for_leaders(topic)
            patience_s = min(2 * patience_s, left)

    def _look_for_leaders(self, topic: str) -> None:
        # The client asks the leader that it knows, however dead that is, and does not look for
        # another one by itself.
        try:
            self._consumer.list_topics(topic, timeout=_ASK_S)
        except KafkaException as error:
            log.debug("no metadata: %s", error)

    def close(self) -> None:
        """Give the connections back."""
        self._consumer.close()

    def _next(self, where: str) -> tuple[dict[int, list[Message]], dict[int, int]]:
        """Records, and ends that were reached, by partition."""
        # consume(n, t) waits for n records or the whole of t, so wait for one, then drain.
        with mapped(where):
            first = self._consumer.poll(_LOOK_S)
            if first is None:
                return {}, {}
            rest = self._consumer.consume(_BATCH, 0) if first.error() is None else []
        batches: defaultdict[int, list[Message]] = defaultdict(list)
        ends: dict[int, int] = {}
        for message in (first, *rest):
            error = message.error()
            if error is None:
                batches[message.partition() or 0].append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                ends[message.partition() or 0] = message.offset() or 0
            else:
                self._raise(error, where)
        return batches, ends

    @staticmethod
    def _raise(error: KafkaError, where: str) -> None:
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise Unprovable(
                f"{where}: the log does not hold that offset (any more): {error.str()}"
            )
        if not is_retryable(error):
            raise to_headwater(error, where)


def runs(offsets: Iterable[int], gap: int) -> Iterator[list[int]]:
    """Offsets in order, in runs within which none is more than ``gap`` after the one before."""
    run: list[int] = []
    for offset in sorted(set(offsets)):
        if run and offset - run[-1] > gap:
            yield run
            run = []
        run.append(offset)
    if run:
        yield run


class ReaderPool:
    """Readers that are lent out, so that threads share connections without sharing a consumer."""

    def __init__(self, config: Config, tuning: dict[str, Any]) -> None:
        self._config = config
        self._tuning = tuning
        self._idle: queue.SimpleQueue[tuple[int, Reader]] = queue.SimpleQueue()
        self._doubts = 0
        self._closed = False

    @contextmanager
    def lend(self) -> Iterator[Reader]:
        """A reader for the length of the block."""
        doubts = self._doubts
        try:
            known, reader = self._idle.get_nowait()
        except queue.Empty:
            reader = Reader(self._config, self._tuning)
        else:
            if known < doubts:
                reader.doubt_leaders()
        try:
            yield reader
        finally:
            if self._closed:
                reader.close()
            else:
                self._idle.put((doubts, reader))

    def doubt_leaders(self) -> None:
        """Have each reader ask for leaders before it reads again: they may have moved."""
        self._doubts += 1

    def close(self) -> None:
        """Close the readers that are idle now, and the others as they come back."""
        self._closed = True
        while True:
            try:
                self._idle.get_nowait()[1].close()
            except queue.Empty:
                return


class Follower:
    """Reads one partition onwards, ready for its next record. Not for use by two threads."""

    def __init__(self, config: Config, topic: str, partition: int, start: int) -> None:
        self._consumer: Consumer = consumer(config, FOLLOWING)
        self._timeout_s = config.read_timeout.total_seconds()
        self._where = f"following {topic}[{partition}]"
        self.next_offset = start
        with mapped(self._where):
            self._consumer.assign([TopicPartition(topic, partition, start)])

    def read_through(self, offset: int) -> list[Message]:
        """Every record up to ``offset``, waiting for it; none is returned twice.

        Raises :class:`Unavailable` if that takes longer than ``Config.read_timeout``.
        """
        found: list[Message] = []
        deadline = time.monotonic() + self._timeout_s
        while self.next_offset <= offset:
            found += self.read(_POLL_S)
            if time.monotonic() > deadline:
                raise Unavailable(f"{self._where}: offset {offset} was not seen; try again")
        return found

    def read(self, timeout_s: float) -> list[Message]:
        """What has come since, waiting up to ``timeout_s`` for something."""
        with mapped(self._where):
            message = self._consumer.poll(timeout_s)
            batch = [] if message is None else [message]
            if message is not None and message.error() is None:
                batch += self._consumer.consume(_BATCH, 0)
        good = []
        for message in batch:
            error = message.error()
            if error is None:
                good.append(message)
                self.next_offset = (message.offset() or 0) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self.next_offset = max(self.next_offset, message.offset() or 0)
            else:
                Reader._raise(error, self._where)
        return good

    def close(self) -> None:
        """Stop following."""
        self._consumer.close()
