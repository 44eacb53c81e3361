"""The life of one events partition in one instance: taken over, followed, committed, given up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from enum import Enum

from confluent_kafka import Message

from headwater.clock import wall_ms
from headwater.crash import crash_point
from headwater.errors import Fenced, HeadwaterError

from .commit import Commit, Counts, Writing
from .ledger import Ledger
from .store import Holdings, Store
from .throttle import Throttle

log = logging.getLogger("headwater.compactor")

_PARKED_REMINDER_S = 30.0
_LOOK_AGAIN_S = 0.01
_IDLE_S = 0.5
_FIRST_COMMIT_S = 0.05


class Phase(Enum):
    """What a partition is at."""

    LOADING = "being taken over"
    RUNNING = "followed"
    WAITING = "waiting to be taken over again"
    CLOSED = "given up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds. ``commit_s``: at most this long between commits. ``retry_s``: before a partition is
    taken over again after an error, doubled each time up to ``longest_retry_s``. ``fenced_s``:
    the same after somebody else took it, though the group says that it is ours. ``close_s``: how
    long giving up may take.
    """

    commit_s: float = 0.25
    retry_s: float = 0.1
    longest_retry_s: float = 30.0
    fenced_s: float = 3.0
    close_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bytes. ``commit_bytes``: commit as soon as this much is pending. ``pause_bytes``: read no
    more of the partition until a commit is through; this keeps commits short, and so less than
    their interval apart, when there is much to catch up on. ``segment_bytes``: of patches in one
    increment.
    """

    commit_bytes: int = 8 << 20
    pause_bytes: int = 16 << 20
    segment_bytes: int = 900_000


class Partition:
    """One partition. All methods are the polling thread's; the work is done in ``pool``."""

    def __init__(
        self,
        number: int,
        partitions: int,
        open_store: Callable[[int], Store],
        writing: Writing,
        pool: Executor,
        timing: Timing,
        bounds: Bounds,
    ) -> None:
        self.number = number
        self.phase = Phase.LOADING
        self.counts = Counts()
        self.failures = 0
        self.committed_offset: int | None = None
        self._committing = 0
        self._partitions = partitions
        self._open_store = open_store
        self._writing = writing
        self._pool = pool
        self._timing = timing
        self._bounds = bounds
        self._store: Store | None = None
        self._ledger: Ledger | None = None
        self._loading: Future[tuple[Store, Holdings]] | None = None
        self._commit: Future[Counts] | None = None
        self._due = 0.0
        self._reminder = Throttle(_PARKED_REMINDER_S)
        self._load()

    @property
    def next_offset(self) -> int | None:
        """Offset of the next record to take in; None while that is not known."""
        return self._ledger.next_offset if self._ledger is not None else None

    @property
    def parked(self) -> bool:
        """Whether a record that only a newer release can read, or a gap, holds the partition up."""
        return self._ledger is not None and self._ledger.parked is not None

    @property
    def is_full(self) -> bool:
        """Whether as much is pending as may be."""
        ledger = self._ledger
        return ledger is not None and ledger.pending_bytes >= self._bounds.pause_bytes

    @property
    def wants_records(self) -> bool:
        """Whether more records can be taken in now."""
        ledger = self._ledger
        if self.phase is not Phase.RUNNING or ledger is None or ledger.parked is not None:
            return False
        return not self.is_full

    def take(self, messages: Sequence[Message]) -> bool:
        """Take records in; they are dropped unless the partition is running. False where one is
        missing, so that reading must start at :attr:`next_offset` again.
        """
        ledger = self._ledger
        if self.phase is not Phase.RUNNING or ledger is None:
            return True
        before = ledger.gap
        ledger.take(messages)
        return ledger.gap == before

    def park(self, reason: str) -> None:
        """Go no further: the log cannot be read on from where the partition is."""
        if self._ledger is not None:
            self._ledger.park(reason)

    def idle_s(self, now: float) -> float:
        """How long there is nothing to tend to, unless records come."""
        if self.phase is Phase.LOADING or self._commit is not None:
            return _LOOK_AGAIN_S
        if self.phase is Phase.RUNNING and not (self._ledger and self._ledger.has_pending):
            return _IDLE_S
        return min(max(self._due - now, 0.0), _IDLE_S)

    def tend(self, now: float) -> bool:
        """Do what is due at ``now`` (monotonic seconds). True when the partition has just been
        taken over, so that reading must start at :attr:`next_offset`.
        """
        if self.phase is Phase.LOADING:
            return self._end_loading(now)
        if self.phase is Phase.WAITING and now >= self._due:
            self._load()
        elif self.phase is Phase.RUNNING:
            self._remind()
            if self._ledger is not None and self._ledger.parked is None:
                self._ledger.remind(wall_ms())
            if self._commit is None or self._end_commit(now):
                self._start_commit(now)
        return False

    def close(self) -> Future[None]:
        """Commit what is pending if that is possible, and give the partition up."""
        loading, commit, ledger = self._loading, self._commit, self._ledger
        running = self.phase is Phase.RUNNING
        self.phase = Phase.CLOSED
        return self._pool.submit(self._finish, loading, commit, ledger if running else None)

    def drop(self) -> Future[None]:
        """Give the partition up without a commit: it is somebody else's already."""
        loading, commit = self._loading, self._commit
        self.phase = Phase.CLOSED
        return self._pool.submit(self._finish, loading, commit, None)

    def _load(self) -> None:
        self.phase = Phase.LOADING
        self._ledger = None
        self._loading = self._pool.submit(self._take_over)

    def _take_over(self) -> tuple[Store, Holdings]:
        store = self._open_store(self.number)
        try:
            return store, store.take_over()
        except BaseException:
            store.close()
            raise

    def _end_loading(self, now: float) -> bool:
        loading = self._loading
        if loading is None or not loading.done():
            return False
        self._loading = None
        try:
            self._store, holdings = loading.result()
        except Exception as error:  # noqa: BLE001 - one partition's trouble is not the others'
            self._wait(now, error)
            return False
        self._ledger = Ledger(
            self.number,
            self._partitions,
            holdings.position,
            holdings.entries,
            self._bounds.segment_bytes,
            self._writing.policy,
        )
        self.phase = Phase.RUNNING
        self.committed_offset = holdings.position.next_offset
        # Readers have been waiting since the last owner's end.
        self._due = now + min(self._timing.commit_s, _FIRST_COMMIT_S)
        log.info(
            "events[%d]: taken over at offset %d with %d agents",
            self.number, holdings.position.next_offset, len(holdings.entries),
        )  # fmt: skip
        return True

    def _start_commit(self, now: float) -> None:
        ledger, store = self._ledger, self._store
        if ledger is None or store is None or not ledger.has_pending:
            return
        if now < self._due and ledger.pending_bytes < self._bounds.commit_bytes:
            return
        self._due = now + self._timing.commit_s
        commit = Commit(self.number, store, self._writing, ledger.harvest(wall_ms()))
        self._committing = ledger.next_offset
        self._commit = self._pool.submit(commit.run)

    def _end_commit(self, now: float) -> bool:
        """Whether the commit under way is through, and all is well."""
        if self._commit is None or not self._commit.done():
            return False
        commit, self._commit = self._commit, None
        try:
            self.counts.add(commit.result())
        except Exception as error:  # noqa: BLE001 - one partition's trouble is not the others'
            self._wait(now, error)
            return False
        self.failures = 0
        self.committed_offset = self._committing
        return True

    def _wait(self, now: float, error: Exception) -> None:
        """Give up what is in memory; the partition is taken over again, from what is committed."""
        timing = self._timing
        first = timing.fenced_s if isinstance(error, Fenced) else timing.retry_s
        delay = min(first * 2**self.failures, timing.longest_retry_s)
        self.failures += 1
        self.phase = Phase.WAITING
        self._ledger = None
        self._due = now + delay
        if self._store is not None:
            self._pool.submit(self._store.close)
            self._store = None
        log.warning(
            "events[%d]: %s; taking it over again in %.1f s if it is still ours",
            self.number, error, delay, exc_info=not isinstance(error, HeadwaterError),
        )  # fmt: skip

    def _remind(self) -> None:
        parked = self._ledger.parked if self._ledger is not None else None
        if parked is not None and self._reminder.allow() is not None:
            log.error(
                "events[%d] is PARKED at offset %d: %s. All before it is committed; nothing behind "
                "it is, and agents of this partition get no snapshots until this is put right",
                self.number, parked.offset, parked.reason,
            )  # fmt: skip

    def _finish(
        self,
        loading: Future[tuple[Store, Holdings]] | None,
        commit: Future[Counts] | None,
        ledger: Ledger | None,
    ) -> None:
        store = self._store
        try:
            if loading is not None:
                store, _ = loading.result(self._timing.close_s)
            if commit is not None:
                self.counts.add(commit.result(self._timing.close_s))
            # Reached whether or not anything is left to commit, that tests can count on them.
            crash_point("compactor.before_revoke_commit")
            if ledger is not None and store is not None and ledger.has_pending:
                last = Commit(self.number, store, self._writing, ledger.harvest(wall_ms()))
                self.counts.add(last.run())
            crash_point("compactor.after_revoke_commit")
        except Exception as error:
            log.warning(
                "events[%d]: given up without a last commit: %s",
                self.number, error, exc_info=not isinstance(error, HeadwaterError | FutureTimeout),
            )  # fmt: skip
        finally:
            if store is not None:
                store.close()
