"""What the parts of a backup are called, and which of them count.

A backup is one series of segments for each partition. A segment covers a range of offsets of
three topics, the same-numbered partitions of index, snapshots and checkpoints, and its name says
which: it begins where the one before it ends. So what is there tells where to go on, a segment
that was saved twice is one, and none is ever changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from headwater.errors import CorruptData, SchemaTooNew

ROOT = "backup"
MANIFEST_KEY = f"{ROOT}/manifest"
FORMAT_VERSION = 1

_NAME = re.compile(
    rf"{ROOT}/p(\d{{4,}})/(\d+)\.(\d+)\.(\d+)-(\d+)\.(\d+)\.(\d+)-g(\d+)\.seg", re.ASCII
)


class Offsets(NamedTuple):
    """A place in the three topics of a partition: everything below these offsets."""

    indexed: int = 0
    snapshots: int = 0
    checkpoints: int = 0


START = Offsets()


class SegmentName(NamedTuple):
    """A segment by its name. ``generation`` counts how often what is in it was merged."""

    partition: int
    first: Offsets
    after: Offsets
    generation: int = 0
    size_bytes: int = 0

    @property
    def key(self) -> str:
        """Its key on the tier."""
        return (
            f"{folder(self.partition)}{_place(self.first)}-{_place(self.after)}"
            f"-g{self.generation:04}.seg"
        )


def folder(partition: int) -> str:
    """What the keys of a partition's segments begin with."""
    return f"{ROOT}/p{partition:04}/"


def _place(offsets: Offsets) -> str:
    return ".".join(f"{each:015}" for each in offsets)


def parse_name(key: str, size_bytes: int = 0) -> SegmentName | None:
    """The segment of a key; None for a key that is none's."""
    found = _NAME.fullmatch(key)
    if found is None:
        return None
    partition, *offsets, generation = map(int, found.groups())
    first, after = Offsets(*offsets[:3]), Offsets(*offsets[3:])
    if first == after or any(a > b for a, b in zip(first, after, strict=True)):
        return None
    return SegmentName(partition, first, after, generation, size_bytes)


def chain(names: Iterable[SegmentName]) -> list[SegmentName]:
    """The segments that count: the way from the start that leads furthest, in as few as possible.

    The others are what a merge left behind that was interrupted, or what an instance wrote that
    did not know yet of another one; all that is in them is in these.
    """
    # Ranges only grow, so whatever leads to a place comes before what begins there.
    ways: dict[Offsets, tuple[int, int, SegmentName | None]] = {START: (0, 0, None)}
    for name in sorted(names, key=lambda n: (n.first, n.after, n.generation)):
        before = ways.get(name.first)
        if before is None:
            continue
        way = before[0] + 1, -name.generation, name
        known = ways.get(name.after)
        if known is None or way[:2] < known[:2]:
            ways[name.after] = way
    place = max(ways, key=lambda offsets: (sum(offsets), offsets))
    found: list[SegmentName] = []
    last = ways[place][2]
    while last is not None:
        found.append(last)
        last = ways[last.first][2]
    return found[::-1]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Of what a backup is. ``created_at`` is when the topics were made (ms since 1970), which tells
    them from topics that were made anew under the same names.
    """

    partitions: int
    prefix: str
    cluster_id: str
    created_at: int
    version: int = FORMAT_VERSION


def encode_manifest(manifest: Manifest) -> bytes:
    """The value under :data:`MANIFEST_KEY`."""
    return msgspec.json.encode(manifest)


def decode_manifest(value: bytes) -> Manifest:
    """Raises :class:`CorruptData`, and :class:`SchemaTooNew` for a later version's."""
    try:
        version = msgspec.json.decode(value, type=_Version).version
        if version > FORMAT_VERSION:
            raise SchemaTooNew(
                f"a backup of format {version}, and this release knows {FORMAT_VERSION}: "
                "upgrade headwater to read it"
            )
        return msgspec.json.decode(value, type=Manifest)
    except msgspec.DecodeError as error:
        raise CorruptData(f"the backup's manifest cannot be read: {error}", "manifest") from error


class _Version(msgspec.Struct):
    version: int
