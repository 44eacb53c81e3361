"""The life of a partition: taken over, committed, lost, taken over again, given up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from headwater.errors import Fenced
from headwater.wire import MARKER
from streams.snapshots.cache import SnapshotCache
from streams.snapshots.commit import Writing
from streams.snapshots.ledger import Parked
from streams.snapshots.partition import Bounds, Partition, Phase, Timing
from streams.snapshots.planner import Limits
from streams.snapshots.strategy import Outweigh
from tests.support.compaction import Author, MemoryStore, check_store, messages


class Now(Executor):
    """Runs what it is given at once, or when told to."""

    def __init__(self) -> None:
        self.held = False
        self._waiting: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run now, unless held."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - as any executor does
                future.set_exception(error)

        if self.held:
            self._waiting.append(run)
        else:
            run()
        return future

    def release(self) -> None:
        """Run what was held back."""
        self.held = False
        for run in self._waiting:
            run()
        self._waiting.clear()


class Life:
    """A partition, its store, and a log."""

    def __init__(self, store: MemoryStore | None = None, **bounds: int) -> None:
        self.store = store or MemoryStore()
        self.pool = Now()
        self.partition = Partition(
            0,
            1,
            lambda _: self.store,
            Writing(
                strategy=Outweigh(),
                cache=SnapshotCache(1 << 20),
                limits=Limits(full_bytes=900_000, increment_bytes=900_000),
                node_id="compactor-1",
            ),
            self.pool,
            Timing(commit_s=0.25, retry_s=0.1, fenced_s=3.0),
            Bounds(**bounds),
        )
        self.author = Author("a")

    def write(self, *values: bytes) -> None:
        """Append the author's records to the log."""
        log = self.store.events
        log += messages([(self.author.key, value) for value in values], start=len(log))

    def read(self) -> None:
        """Hand out the log from where the partition is."""
        self.partition.take(self.store.events[self.partition.next_offset or 0 :])


def test_a_partition_is_followed_once_it_was_taken_over() -> None:
    """Records are dropped until the position is known; the first are committed soon after."""
    life = Life()
    life.write(life.author.claim(), life.author.say("1"))
    life.read()
    assert life.partition.next_offset is None
    assert life.partition.tend(0.0)
    assert life.partition.next_offset == 0
    life.read()
    assert not life.partition.tend(0.04)
    assert life.partition.idle_s(0.04) == pytest.approx(0.01)
    assert life.partition.committed_offset == 0
    life.partition.tend(0.05)
    life.partition.tend(0.06)
    assert life.partition.committed_offset == 2
    assert life.partition.counts.commits == 1
    check_store(life.store, life.store.events)


def test_commits_are_an_interval_apart() -> None:
    """However often records come, and counted from one start to the next."""
    life = Life()
    life.partition.tend(0.0)
    life.write(life.author.claim())
    for tick in range(100):
        life.write(life.author.say("1"))
        life.read()
        life.partition.tend(1.0 + tick / 100)
    assert life.partition.counts.commits == 4
    assert life.partition.idle_s(2.0) <= 0.25


def test_a_missing_record_is_asked_for_again() -> None:
    """Whoever reads is told to start again at the record that is due."""
    life = Life()
    life.partition.tend(0.0)
    life.write(life.author.claim(), life.author.say("1"))
    assert not life.partition.take(life.store.events[1:])
    assert life.partition.next_offset == 0
    assert life.partition.take(life.store.events)
    assert life.partition.next_offset == 2


def test_much_that_is_pending_is_committed_early_and_then_reading_stops() -> None:
    """Memory is bounded: while a commit takes long, no more is taken in."""
    life = Life(commit_bytes=1000, pause_bytes=3000)
    life.partition.tend(0.0)
    life.write(life.author.claim(), life.author.say("x" * 1500))
    life.read()
    life.pool.held = True
    life.partition.tend(0.01)
    assert life.partition.wants_records
    life.write(*[life.author.say("x" * 1500) for _ in range(3)])
    life.read()
    assert not life.partition.wants_records
    life.pool.release()
    life.partition.tend(0.02)
    assert life.partition.wants_records


def test_after_a_failure_the_partition_is_taken_over_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was in memory is thrown away; what is committed is the truth."""
    life = Life()
    life.partition.tend(0.0)
    life.write(life.author.claim(), life.author.say("1"))
    life.read()
    life.store.fail_at = "commit"
    life.partition.tend(1.0)
    life.partition.tend(1.0)
    assert life.partition.phase is Phase.WAITING
    assert life.store.closed == 1
    life.read()
    assert not life.partition.tend(1.05)
    life.partition.tend(1.11)
    assert life.partition.tend(1.11)
    assert life.partition.next_offset == 0
    life.read()
    life.partition.tend(2.0)
    life.partition.tend(2.0)
    assert life.partition.failures == 0
    check_store(life.store, life.store.events)
    assert "taking it over again in 0.1 s" in caplog.text


def test_repeated_failures_are_retried_ever_more_slowly() -> None:
    """Brokers in trouble are left in peace."""
    life = Life()
    life.partition.tend(0.0)
    waits = []
    now = 0.0
    for _ in range(4):
        life.write(life.author.claim())
        life.read()
        life.store.fail_at = "begin"
        life.partition.tend(now := now + 1)
        life.partition.tend(now)
        waits.append(round(life.partition._due - now, 3))
        life.partition.tend(now := now + 10)
        life.partition.tend(now)
    assert waits == [0.1, 0.2, 0.4, 0.8]


def test_a_fenced_partition_waits_for_the_group_to_say_whose_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody else took it: it is let go of, and tried again only if it stays ours for long."""
    life = Life()
    life.partition.tend(0.0)
    life.write(life.author.claim())
    life.read()

    def fenced() -> None:
        raise Fenced("another process has taken over")

    monkeypatch.setattr(life.store, "commit", fenced)
    life.partition.tend(1.0)
    life.partition.tend(1.0)
    assert life.partition.phase is Phase.WAITING
    assert life.partition.idle_s(1.0) == 0.5
    life.partition.tend(3.9)
    assert not life.partition.tend(3.9)
    life.partition.tend(4.0)
    assert life.partition.tend(4.0)


def test_a_bug_met_in_one_partition_is_not_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that nobody foresaw is logged with its traceback, and the process goes on."""
    life = Life()
    life.partition.tend(0.0)
    life.write(life.author.claim())
    life.read()

    def broken() -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(life.store, "begin", broken)
    life.partition.tend(1.0)
    life.partition.tend(1.0)
    assert life.partition.phase is Phase.WAITING
    assert "ZeroDivisionError" in caplog.text


def test_closing_commits_what_is_pending() -> None:
    """Whoever is next has nothing to do again; the store is given back."""
    life = Life()
    life.partition.tend(0.0)
    life.write(life.author.claim(), life.author.say("1"))
    life.read()
    life.partition.close().result()
    assert life.store.position().next_offset == 2
    assert life.store.closed == 1
    check_store(life.store, life.store.events)


def test_closing_waits_for_the_commit_under_way() -> None:
    """What was taken in during a commit is committed after it, in the same order."""
    life = Life()
    life.partition.tend(0.0)
    life.write(life.author.claim(), life.author.say("1"))
    life.read()
    life.pool.held = True
    life.partition.tend(1.0)
    life.write(life.author.say("2"))
    life.read()
    closing = life.partition.close()
    life.pool.release()
    closing.result()
    assert life.store.position().next_offset == 3
    assert life.partition.counts.commits == 2
    check_store(life.store, life.store.events)


def test_dropping_commits_nothing() -> None:
    """A lost partition is somebody else's already."""
    life = Life()
    life.partition.tend(0.0)
    life.write(life.author.claim())
    life.read()
    life.partition.drop().result()
    assert life.store.index == {}
    assert life.store.closed == 1


def test_closing_while_being_taken_over_closes_the_store() -> None:
    """A partition that goes before it was had leaves nothing open."""
    life = Life()
    life.partition.tend(0.0)
    life.partition.close().result()
    assert life.store.closed == 1
    failing = MemoryStore()
    failing.fail_at = "take_over"
    life = Life(failing)
    life.partition.close().result()
    assert failing.closed == 1


def test_a_parked_partition_commits_what_came_before_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A record of a newer schema stops its partition, loudly, and loses nothing before it."""
    caplog.set_level(logging.ERROR, "headwater.compactor")
    life = Life()
    life.partition.tend(0.0)
    life.write(life.author.claim(), MARKER + b"newer..." + b"body", life.author.say("1"))
    life.read()
    for now in (1.0, 1.1, 1.2):
        life.partition.tend(now)
    assert life.partition.parked
    assert not life.partition.wants_records
    assert life.store.position().next_offset == 1
    assert "PARKED at offset 1" in caplog.text
    assert "upgrade headwater" in caplog.text


def test_a_gap_in_the_log_parks_where_reading_stopped() -> None:
    """Records that were deleted before they were read are never passed over in silence."""
    life = Life()
    life.partition.tend(0.0)
    life.partition.park("the log does not hold that offset")
    ledger = life.partition._ledger
    assert ledger is not None
    assert ledger.parked == Parked(offset=0, reason="the log does not hold that offset")
