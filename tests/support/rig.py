"""Commits of one partition from a log in memory into a store in memory."""

from __future__ import annotations

from typing import Any

from headwater.log.sealing import decode_snapshot
from streams.snapshots.cache import SnapshotCache
from streams.snapshots.commit import Commit, Counts, Writing
from streams.snapshots.ledger import Ledger
from streams.snapshots.planner import Limits
from streams.snapshots.strategy import Outweigh, Strategy
from tests.support.compaction import Author, MemoryStore, messages


class Rig:
    """A log, a store, and commits from one to the other."""

    def __init__(
        self, strategy: Strategy | None = None, cache_bytes: int = 1 << 20, limit: int = 900_000
    ) -> None:
        self.store = MemoryStore()
        self.limit = limit
        self.counts = Counts()
        self.writing = Writing(
            strategy=strategy or Outweigh(),
            cache=SnapshotCache(cache_bytes),
            limits=Limits(full_bytes=limit, increment_bytes=limit),
            node_id="compactor-1",
        )
        self.ledger = self._taken_over()

    def _taken_over(self) -> Ledger:
        holdings = self.store.take_over()
        return Ledger(0, 1, holdings.position, holdings.entries, self.limit)

    def take(self, *records: tuple[bytes | None, bytes | None]) -> None:
        """Append records to the log and take them in."""
        log = self.store.events
        log += messages(records, start=len(log))
        self.ledger.take(log[self.ledger.next_offset :])

    def commit(self) -> Counts:
        """Commit what is pending."""
        counts = Commit(0, self.store, self.writing, self.ledger.harvest()).run()
        self.counts.add(counts)
        return counts

    def restart(self) -> None:
        """A new instance, which knows nothing but what was committed."""
        self.writing = Writing(
            strategy=self.writing.strategy,
            cache=SnapshotCache(1 << 20),
            limits=self.writing.limits,
            node_id="compactor-2",
        )
        self.ledger = self._taken_over()
        self.ledger.take(self.store.events)

    def add(self, author: Author, *values: bytes) -> Counts:
        """Take an author's records in and commit them."""
        self.take(*[(author.key, value) for value in values])
        return self.commit()

    def kinds(self, agent_id: str) -> list[str]:
        """The kinds of the snapshots in an agent's chain."""
        return [decode_snapshot(self.value(p.offset)).kind for p in self.chain(agent_id)]

    def chain(self, agent_id: str) -> tuple[Any, ...]:
        """The pointers of an agent."""
        return self.store.entry(agent_id).snapshots

    def value(self, offset: int) -> bytes:
        """The snapshot record at an offset."""
        value = self.store.snapshots[offset][1]
        assert value is not None
        return value
