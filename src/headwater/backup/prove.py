"""Proves every agent of a backup from the backup alone."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headwater.backup.archive import Archive
from headwater.backup.format import INDEX, SNAPSHOTS, Segment
from headwater.backup.live import Live, live, values
from headwater.backup.names import SegmentName
from headwater.errors import HeadwaterError, RetryableError
from headwater.log.resolve import read_snapshot, resolver
from headwater.log.snapshots import IndexEntry, decode_entry, prove_chain
from headwater.state.model import new_document, state_hash

Advance = Callable[[str], None]
_SEGMENTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """One agent of a backup. ``problem`` is why its state cannot be proved; None where it is.

    ``hash`` is its chain hash, ``state_hash`` that of its state, 32 bytes each.
    """

    agent_id: str
    version: int
    hash: bytes
    state_hash: bytes | None = None
    problem: str | None = None


class Records:
    """Records of snapshots by partition and offset, as the backed-up cluster had them."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._chains: dict[int, list[SegmentName]] = {}
        self._values: OrderedDict[str, dict[int, bytes]] = OrderedDict()

    def fetch(self, partition: int, offset: int) -> bytes | None:
        """The value at a place; None where there is none, or a tombstone."""
        chain = self._chains.get(partition)
        if chain is None:
            chain = self._chains[partition] = self._archive.chain(partition)
        at = bisect_right(chain, offset, key=lambda name: name.first.snapshots) - 1
        # Several segments in a row may begin at one offset: all but the last hold other topics.
        return self._of(chain[at]).get(offset) if at >= 0 else None

    def _of(self, name: SegmentName) -> dict[int, bytes]:
        found = self._values.get(name.key)
        if found is None:
            found = self._values[name.key] = _snapshots(self._archive.read(name))
            if len(self._values) > _SEGMENTS:
                self._values.popitem(last=False)
        else:
            self._values.move_to_end(name.key)
        return found


def _snapshots(segment: Segment) -> dict[int, bytes]:
    items = segment.items
    found = segment.values(lambda n: items[n].topic == SNAPSHOTS)
    return {item.offset: value for item, value in found if value is not None}


def prove(archive: Archive, advance: Advance = lambda text: None) -> Iterator[Proved | str]:
    """Every agent of the backup, and a text for each segment that cannot be read."""
    records = Records(archive)
    for partition in range(archive.manifest().partitions):
        advance(f"partition {partition}")
        part = live(archive, partition, damaged=True)
        yield from part.damaged
        for done, entry in enumerate(_entries(archive, part)):
            if not done % 100:
                advance(f"partition {partition}: {done:,} of {part.agents:,} agents")
            yield _proved(records, partition, entry)


def _entries(archive: Archive, part: Live) -> list[IndexEntry]:
    """By where their snapshots are: so segments are read one after the other."""
    found = [
        decode_entry(value)
        for item, value in values(archive, part.segments, (INDEX,))
        if value is not None and not item.key.startswith(b"!")
    ]
    return sorted(found, key=lambda entry: entry.snapshots[0].offset if entry.snapshots else -1)


def _proved(records: Records, partition: int, entry: IndexEntry) -> Proved:
    head = entry.head
    found = {"agent_id": head.agent_id, "version": head.version, "hash": head.hash}
    try:
        if not entry.snapshots:
            empty = state_hash(head.agent_id, new_document())
            return Proved(**found, state_hash=empty)  # type: ignore[arg-type]
        chain = [
            read_snapshot(records.fetch, partition, head.agent_id, pointer)
            for pointer in entry.snapshots
        ]
        agent = prove_chain(chain, entry, resolver(records.fetch))
        reached = state_hash(head.agent_id, agent.document)
    except RetryableError:
        raise
    except HeadwaterError as error:
        return Proved(**found, problem=str(error))  # type: ignore[arg-type]
    return Proved(**found, state_hash=reached)  # type: ignore[arg-type]
