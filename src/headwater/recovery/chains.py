"""An agent's chains of snapshots, newest first, each found through the one after it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from headwater.errors import InvalidState
from headwater.log.resolve import Fetch
from headwater.log.sealing import chunks_of, decode_snapshot
from headwater.log.snapshots import (
    INCREMENTAL,
    PROOF_ERRORS,
    IndexEntry,
    Pointer,
    Snapshot,
    check_pointer,
)
from headwater.recovery.remember import Remembered

FetchMany = Callable[[int, Sequence[int]], dict[int, bytes]]
"""Gives the values at a partition and offsets of snapshots, as far as there are any."""

GONE = "gone"
"""The check that a snapshot fails which is there no longer."""


_KEY = re.compile(rb".*\0(\d+)-(\d+)(?:\0c)?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Pointers to the record that begins a chain, and to the increments after it.

    ``hash`` is what the last of them must lead to: the indexed head, or what the following chain
    begins with; None where the agent's state was put away between the two.
    """

    pointers: tuple[Pointer, ...]
    hash: bytes | None

    @property
    def first(self) -> int:
        """The oldest version in it."""
        return self.pointers[0].to_version

    @property
    def last(self) -> int:
        """The newest version in it."""
        return self.pointers[-1].to_version


class SnapshotReader:
    """Reads one agent's snapshots, and counts them; each once for as long as it is remembered."""

    def __init__(self, fetch: Fetch, partition: int, agent_id: str) -> None:
        self._fetch = fetch
        self._agent_id = agent_id
        self._known: dict[int, Snapshot] = {}
        self._ahead: dict[int, bytes] = {}
        self.fetch_many: FetchMany | None = None
        self.remembered: Remembered | None = None
        self.partition = partition
        self.count = 0
        self.size_bytes = 0

    def read(self, pointer: Pointer) -> Snapshot:
        """The snapshot that ``pointer`` means; its checksum is not looked at here.

        Raises one of ``PROOF_ERRORS``; where there is none (any more), the check is :data:`GONE`.
        """
        known = self._find(pointer.offset)
        if known is not None:
            check_pointer(known, self._agent_id, pointer)
            return known
        value = self._value(pointer.offset)
        if value is None:
            raise InvalidState(f"no snapshot at offset {pointer.offset} (any more)", GONE)
        self._read_ahead(chunks_of(value))
        snapshot = decode_snapshot(value, self._value)
        check_pointer(snapshot, self._agent_id, pointer)
        self._known[pointer.offset] = snapshot
        if self.remembered is not None:
            self.remembered.put((self.partition, pointer.offset), snapshot)
        return snapshot

    def _find(self, offset: int) -> Snapshot | None:
        known = self._known.get(offset)
        if known is None and self.remembered is not None:
            known = self.remembered.get((self.partition, offset))
            if known is not None:
                self._known[offset] = known
        return known

    def ahead(self, pointers: Sequence[Pointer]) -> None:
        """Read what will be asked for next, all at once where that is quicker."""
        self._read_ahead([p.offset for p in pointers if self._find(p.offset) is None])

    def _read_ahead(self, offsets: Sequence[int]) -> None:
        if self.fetch_many is not None and len(offsets) > 1:
            self._ahead.update(self.fetch_many(self.partition, offsets))

    def _value(self, offset: int) -> bytes | None:
        value = self._ahead.pop(offset, None)
        if value is None:
            value = self._fetch(self.partition, offset)
        if value is not None:
            self.count += 1
            self.size_bytes += len(value)
        return value

    def forget(self) -> None:
        """Let go of what was read: the agent's whole past may be more than fits into memory."""
        self._known.clear()
        self._ahead.clear()


def walk(
    entry: IndexEntry, reader: SnapshotReader, refuse: Callable[[str], None]
) -> Iterator[Chain]:
    """The chains of an agent from the indexed one back to the oldest that is kept.

    Reads the first record of each when the next one is asked for. One that is gone is simply the
    end; of one that is broken ``refuse`` is told.
    """
    pointers, reached = entry.snapshots, entry.snapshot_hash or None
    while pointers:
        yield Chain(pointers=pointers, hash=reached)
        try:
            first = reader.read(pointers[0])
        except PROOF_ERRORS as error:
            if getattr(error, "check", "") != GONE:
                refuse(f"{error}; what was before it cannot be found")
            return
        if first.kind == INCREMENTAL:
            refuse(f"snapshot {first.snapshot_id!r} begins no chain")
            return
        before = first.previous
        if before and before[0].to_version >= first.to_version:
            refuse(f"snapshot {first.snapshot_id!r} names what is no older than itself")
            return
        follows = bool(before) and before[-1].to_version == first.to_version
        pointers, reached = before, first.to_hash if follows else None
        reader.forget()


def line_up(records: Iterable[tuple[bytes, int, int]]) -> list[Chain]:
    """Chains, newest first, that records with these keys, offsets and bytes may form: each what
    begins one, and the increments that lead on from there, the longest first.
    """
    begins: dict[int, Pointer] = {}
    steps: dict[int, Pointer] = {}
    for key, offset, size in records:
        if (match := _KEY.fullmatch(key)) is None:
            continue  # part of a snapshot
        pointer = Pointer(offset, int(match[1]), int(match[2]), size)
        if pointer.from_version == pointer.to_version:
            begins[pointer.to_version] = pointer
        else:
            known = steps.get(pointer.from_version)
            if known is None or known.to_version < pointer.to_version:
                steps[pointer.from_version] = pointer
    chains = []
    for first in sorted(begins, reverse=True):
        pointers = [begins[first]]
        while (following := steps.get(pointers[-1].to_version)) is not None:
            pointers.append(following)
        chains.append(Chain(pointers=tuple(pointers), hash=None))
    return chains
