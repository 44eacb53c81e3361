"""Reads an agent's chain back and proves it, or folds the agent's events where that fails."""

from __future__ import annotations

from collections.abc import Iterable

from headwater.errors import InvalidState, Unprovable
from headwater.kafka.reader import runs
from headwater.log.fold import Agent, fold, new_agent
from headwater.log.records import parse
from headwater.log.resolve import resolver
from headwater.log.sealing import decode_snapshot
from headwater.log.snapshots import (
    PROOF_ERRORS,
    Pointer,
    Snapshot,
    check_pointer,
    extend_agent,
    start_agent,
)
from headwater.state.model import new_document

from .cache import SnapshotCache
from .store import Store
from .tracked import Chain, Segment

_GAP = 16  # records that nobody asked for are cheaper to read than to leave out
_MUCH_BYTES = 1 << 20


class ChainReader:
    """Reads the snapshots of one partition, from memory where they were written not long ago."""

    def __init__(self, partition: int, store: Store, cache: SnapshotCache) -> None:
        self._partition = partition
        self._store = store
        self._cache = cache
        self._ahead: dict[int, Snapshot] = {}
        self._resolve = resolver(store.fetch)

    def read_ahead(self, pointers: Iterable[Pointer]) -> None:
        """Read what is listed and not in memory in as few pieces as possible, for :meth:`read`.

        What was read ahead before is let go of. Commits write their snapshots side by side, so
        reading many of them one by one would read most of the partition many times over.
        """
        self._ahead = {}
        missing = {p.offset: p for p in pointers if not self._cache.get(self._partition, p.offset)}
        for run in runs(missing, _GAP):
            if len(run) > 1:
                much = sum(missing[offset].size for offset in run) > _MUCH_BYTES
                for offset, value in self._store.read_snapshots(run[0], run[-1], much):
                    if offset in missing:
                        self._ahead[offset] = self._decode(value)

    def _read_one(self, offset: int) -> Snapshot | None:
        for _, value in self._store.read_snapshots(offset, offset, False):
            return self._decode(value)
        return None

    def _decode(self, value: bytes) -> Snapshot:
        return decode_snapshot(value, lambda offset: self._store.fetch(self._partition, offset))

    def read(self, agent_id: str, pointer: Pointer) -> Snapshot:
        """The snapshot that ``pointer`` means; :class:`InvalidState` if it is not there."""
        snapshot = (
            self._cache.get(self._partition, pointer.offset)
            or self._ahead.get(pointer.offset)
            or self._read_one(pointer.offset)
        )
        if snapshot is None:
            raise InvalidState(f"there is no snapshot at offset {pointer.offset}", "pointer")
        check_pointer(snapshot, agent_id, pointer)
        return snapshot

    def prove(self, agent_id: str, chain: Chain) -> Agent:
        """The agent at the end of its chain. Raises one of ``PROOF_ERRORS``."""
        if chain.base is not None:
            return Agent(chain.base, new_document())
        agent = start_agent(self.read(agent_id, chain.pointers[0]), self._resolve)
        for pointer in chain.pointers[1:]:
            extend_agent(agent, self.read(agent_id, pointer))
        if agent.head.hash != chain.hash:
            raise InvalidState("the snapshots do not lead to the head of the index", "chain")
        return agent

    def rebuild(self, key: bytes, chain: Chain, target: Segment) -> Agent:
        """The agent at ``target``, folded from the events since the last snapshot that proves
        right, or since the first of all.

        Raises :class:`Unprovable` where the events do not lead there either.
        """
        agent, start = self._provable(key.decode(), chain)
        for batch in self._store.read_events(start, target.events_offset):
            for message in batch:
                if message.key() == key:
                    try:
                        fold(agent, parse(key, message.value()))
                    except PROOF_ERRORS:
                        continue  # a dead letter
        if agent.head.hash != target.head.hash:
            raise Unprovable(f"the events of agent {key.decode()!r} do not lead to its head")
        return agent

    def _provable(self, agent_id: str, chain: Chain) -> tuple[Agent, int | None]:
        agent, start = new_agent(agent_id, self._resolve), None
        for pointer in chain.pointers:
            try:
                snapshot = self.read(agent_id, pointer)
                if start is None:
                    agent = start_agent(snapshot, self._resolve)
                else:
                    extend_agent(agent, snapshot)
            except PROOF_ERRORS:
                break
            start = snapshot.events_offset
        return agent, start
