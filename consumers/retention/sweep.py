"""Carries a plan out: tombstones, under the eyes of whoever might just be needing what goes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from headwater.clock import wall_ms
from headwater.crash import crash_point
from headwater.errors import RetryableError, UndecodableRecord
from headwater.log.checkpoints import is_state_key
from headwater.log.origin import read_origin
from headwater.log.records import parse

from .broker import Broker
from .inventory import marked
from .model import Place
from .plan import SNAPSHOTS, Drop
from .writer import Writer

log = logging.getLogger("headwater.retention")

MARKER_KEY = b"!retention"
_AT_ONCE = 500


class Overtaken(RetryableError):
    """Somebody began to need what was about to go; the next pass sees that."""


class Tails:
    """What events refer to that the compactor may not have met yet, in all partitions."""

    def __init__(self, broker: Broker, partitions: int) -> None:
        self._broker = broker
        self._numbers = range(partitions)
        self._next: dict[int, int] = {}
        self._origins: dict[int, list[tuple[int, tuple[Place, ...]]]] = {}

    def read(self, positions: dict[int, int]) -> list[Place]:
        """Everything that is referred to by events from ``positions`` on, up to now."""
        ends = self._broker.ends("events", self._numbers)
        for number in self._numbers:
            start = max(self._next.get(number, 0), positions[number])
            known = self._origins.get(number, [])
            found = [each for each in known if each[0] >= positions[number]]
            found += self._referred(number, start, ends[number])
            self._origins[number] = found
            self._next[number] = max(start, ends[number])
        return [place for found in self._origins.values() for _, base in found for place in base]

    def _referred(
        self, number: int, start: int, end: int
    ) -> Iterator[tuple[int, tuple[Place, ...]]]:
        for message in self._broker.read("events", number, start, end):
            value = message.value()
            # Few records are a RESTORE at all.
            if value is None:
                continue
            try:
                change = parse(message.key(), value)
            except UndecodableRecord:
                continue
            origin = read_origin(change.kind, change.patch)
            if origin is not None and origin.base:
                base = tuple((b.partition, b.offset) for b in origin.base)
                yield message.offset() or 0, base


class Sweeper:
    """Writes the tombstones of a plan.

    Each transaction first writes what it wants to be gone, and then looks whether anybody has
    begun to need that since the plan was made; only if nobody has, it commits. So whoever writes
    that it refers to a record, and after that finds no tombstone for it in the log, not even an
    undecided one, can rely on it: of two that look after they have written, one sees the other.
    """

    def __init__(self, broker: Broker, writer: Writer, tails: Tails, node_id: str) -> None:
        self._broker = broker
        self._writer = writer
        self._tails = tails
        self._node_id = node_id

    def sweep(
        self,
        partition: int,
        drops: Sequence[Drop],
        positions: dict[int, int],
        seen: int,
    ) -> None:
        """Write the tombstones of one partition. ``positions`` are the compactor's, as they were
        before the inventory was taken; ``seen`` is the offset up to which checkpoints were read.

        Raises :class:`Overtaken` where somebody needs something of it by now.
        """
        for start in range(0, len(drops), _AT_ONCE):
            self._sweep(partition, drops[start : start + _AT_ONCE], positions, seen)

    def _sweep(
        self, partition: int, drops: Sequence[Drop], positions: dict[int, int], seen: int
    ) -> None:
        ours: list[int] = []
        with self._writer.transaction():
            for drop in drops:
                for key in drop.keys:
                    self._writer.put(drop.topic, partition, key, None)
            # The end that a leader tells can be an old one; a record that it took cannot.
            self._writer.put("checkpoints", partition, MARKER_KEY, self._marker(), ours.append)
            self._writer.settle()
            crash_point("retention.tombstones_written")
            self._check_forks(drops, positions)
            self._check_checkpoints(partition, drops, seen, ours[0])
            crash_point("retention.before_commit")
        crash_point("retention.after_commit")

    def _marker(self) -> bytes:
        at = wall_ms()
        return msgspec.msgpack.encode({"node_id": self._node_id, "at": at})

    def _check_forks(self, drops: Iterable[Drop], positions: dict[int, int]) -> None:
        needed = set(self._tails.read(positions))
        for drop in drops:
            if needed.intersection(drop.places):
                raise Overtaken(f"agent {drop.agent_id!r} was forked meanwhile")

    def _check_checkpoints(
        self, partition: int, drops: Sequence[Drop], seen: int, until: int
    ) -> None:
        newest: dict[str, int] = {}
        keys: set[bytes] = set()
        for drop in drops:
            keys.update(drop.keys)
            if drop.topic == SNAPSHOTS:
                newest[drop.agent_id] = max(drop.version, newest.get(drop.agent_id, 0))
        for message in self._broker.read("checkpoints", partition, seen, until, decided=False):
            key, value = message.key() or b"", message.value()
            if value is None or key.startswith(b"!") or is_state_key(key):
                continue  # what retention writes itself, and a backup's position
            if key in keys:
                raise Overtaken("a checkpoint was made anew that was about to go")
            found = marked(message, key, value)
            if found.version <= newest.get(found.agent_id, -1):
                raise Overtaken(f"agent {found.agent_id!r} got a checkpoint of an old version")
