"""The bytes of a segment.

::

    "HWBK" | version (1) | block of contents | blocks of values ...
    block: bytes stored (4) | bytes before (4) | CRC-32 of what is stored (4) | lz4

All numbers are big-endian. The contents say of each record what it is and how large its value is,
and how many records each block of values has, so that keys are read without values, and one
agent's values without the others'. A block ends with a record.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import lz4.block
import msgspec

from headwater.backup.names import Offsets
from headwater.errors import CorruptData, SchemaTooNew

INDEX, SNAPSHOTS, CHECKPOINTS = range(3)
TOPICS = ("index", "snapshots", "checkpoints")
"""The topics by their numbers, which are those of :class:`~.names.Offsets`, too."""

_MAGIC = b"HWBK"
_VERSION = 1
_BLOCK = struct.Struct(">III")
_BLOCK_BYTES = 1 << 20
# A tier's value is smaller; what a block says that it grows to is never taken on trust.
_MOST_BYTES = 256 << 20
_TOMBSTONE = -1


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record without its value, which has ``size`` bytes; -1 for a tombstone.

    ``offset`` and ``timestamp`` (ms since 1970) are those of the cluster that it was copied from.
    """

    topic: int
    offset: int
    timestamp: int
    key: bytes
    size: int

    @property
    def is_tombstone(self) -> bool:
        """Whether it only says that there is nothing under its key any more."""
        return self.size == _TOMBSTONE


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A record of a topic, as it was found there; ``value`` None is a tombstone."""

    topic: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes | None

    @property
    def weight(self) -> int:
        """About how many bytes it adds to a segment before compression."""
        return 32 + len(self.key) + len(self.value or b"")


class _Contents(msgspec.Struct, frozen=True):
    partition: int
    first: Offsets
    after: Offsets
    blocks: list[int]
    items: list[Item]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Contents).decode


def encode_segment(
    partition: int, first: Offsets, after: Offsets, records: Sequence[Kept]
) -> bytes:
    """The bytes of a segment."""
    items, counts, blocks = [], [], []
    values: list[bytes] = []
    size = 0
    for r in records:
        length = _TOMBSTONE if r.value is None else len(r.value)
        items.append(Item(r.topic, r.offset, r.timestamp, r.key, length))
        values.append(r.value or b"")
        size += len(values[-1])
        if size >= _BLOCK_BYTES:
            counts.append(len(values))
            blocks.append(_block(b"".join(values)))
            values, size = [], 0
    if values:
        counts.append(len(values))
        blocks.append(_block(b"".join(values)))
    contents = _Contents(partition, first, after, counts, items)
    head = _MAGIC + bytes([_VERSION]) + _block(_encode(contents))
    return b"".join([head, *blocks])


def _block(data: bytes) -> bytes:
    stored: bytes = lz4.block.compress(data, store_size=False)
    return _BLOCK.pack(len(stored), len(data), zlib.crc32(stored)) + stored


class Segment:
    """A segment that was read: its contents, and its values when they are asked for."""

    __slots__ = ("_blocks", "_counts", "_data", "after", "first", "items", "partition")

    def __init__(self, data: bytes, contents: _Contents, blocks: list[int]) -> None:
        self.partition = contents.partition
        self.first, self.after = contents.first, contents.after
        self.items = contents.items
        self._data, self._counts, self._blocks = data, contents.blocks, blocks

    @property
    def size_bytes(self) -> int:
        """Bytes that it has as it is stored."""
        return len(self._data)

    def values(
        self, wanted: Callable[[int], object] | None = None
    ) -> Iterator[tuple[Item, bytes | None]]:
        """Records and their values, in order; ``wanted`` is asked with the numbers of records.

        Raises :class:`CorruptData` where bytes are not those that were written.
        """
        number = 0
        for count, at in zip(self._counts, self._blocks, strict=True):
            numbers = range(number, number + count)
            number += count
            if wanted is not None and not any(map(wanted, numbers)):
                continue
            data, place = _open_block(self._data, at)[0], 0
            items = self.items
            if sum(max(0, items[n].size) for n in numbers) != len(data):
                raise _corrupt("contents", "values are of other sizes than its contents say")
            for n in numbers:
                item = items[n]
                end = place + max(0, item.size)
                if wanted is None or wanted(n):
                    yield item, None if item.is_tombstone else data[place:end]
                place = end

    def records(self) -> Iterable[Kept]:
        """All of its records."""
        return (
            Kept(item.topic, item.offset, item.timestamp, item.key, value)
            for item, value in self.values()
        )


def open_segment(data: bytes) -> Segment:
    """The segment of :func:`encode_segment`'s bytes.

    Raises :class:`CorruptData`, and :class:`SchemaTooNew` for a later version's.
    """
    if data[:4] != _MAGIC or len(data) < 5:
        raise _corrupt("header", "it does not begin as one does")
    if data[4] > _VERSION:
        raise SchemaTooNew(
            f"a segment of format {data[4]}, and this release knows {_VERSION}: "
            "upgrade headwater to read it"
        )
    head, at = _open_block(data, 5)
    try:
        contents = _decode(head)
    except msgspec.DecodeError as error:
        raise _corrupt("contents", f"its contents cannot be read: {error}") from error
    if sum(contents.blocks) != len(contents.items):
        raise _corrupt("contents", "its blocks hold another number of records")
    blocks = []
    for _ in contents.blocks:
        blocks.append(at)
        at = _end_of(data, at)
    if at != len(data):
        raise _corrupt("length", f"it has {len(data) - at} bytes too many")
    return Segment(data, contents, blocks)


def _end_of(data: bytes, at: int) -> int:
    start = at + _BLOCK.size
    if start > len(data):
        raise _corrupt("length", "it ends too early")
    end = start + int.from_bytes(data[at : at + 4], "big")
    if end > len(data):
        raise _corrupt("length", "it ends too early")
    return end


def _open_block(data: bytes, at: int) -> tuple[bytes, int]:
    end = _end_of(data, at)
    _, size, crc = _BLOCK.unpack_from(data, at)
    stored = data[at + _BLOCK.size : end]
    if zlib.crc32(stored) != crc:
        raise _corrupt("checksum", "its bytes are not those that were written")
    if size > _MOST_BYTES:
        raise _corrupt("size", f"a block declares {size:,} bytes")
    try:
        found: bytes = lz4.block.decompress(stored, uncompressed_size=size)
    except lz4.block.LZ4BlockError as error:
        raise _corrupt("block", str(error)) from error
    if len(found) != size:
        raise _corrupt("size", f"a block holds {len(found):,} bytes and declares {size:,}")
    return found, end


def _corrupt(check: str, what: str) -> CorruptData:
    return CorruptData(f"a segment of a backup is corrupt: {what}", check)
