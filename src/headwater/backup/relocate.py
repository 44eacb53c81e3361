"""Records of a backup as they are in another cluster, where every record has a new offset.

Snapshots point to each other, and the index to them, by offset. Nothing else in them changes, so
the bytes around those numbers are kept as they are: what is spliced equals what decoding and
encoding would give (a test holds it to that), at a tenth of the time. Records of older schemas
take the long way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256

import msgspec

from headwater.compression import Codec, compress, decompress
from headwater.errors import CorruptData
from headwater.log.checkpoints import decode_state, encode_state
from headwater.log.origin import decode_origin, encode_origin
from headwater.log.records import encode_long
from headwater.log.snapshots import ORIGIN
from headwater.wire import HEADER_BYTES, Record, codec

Place = Callable[[int], int | None]
"""The new offset of a record of the same partition; None where it is no longer."""
Elsewhere = Callable[[int, int], int | None]
"""The same by partition and offset."""

_LONG = rb"[\x80-\xff]*[\x00-\x7f]"
_POINTER = re.compile(rb"(%b)(%b%b%b)" % ((_LONG,) * 4))
_NUMBER = re.compile(_LONG)
# kind, from and to version, from and to hash, sequence, epoch, nonce
_TO_EVENTS_OFFSET = re.compile(
    rb"([\x00-\x7f])%b%b.{64}%b%b(?:\x00|\x02.{16})(?=%b)" % ((_LONG,) * 5), re.DOTALL
)
# created_at, change_count, inapplicable, state hash, checksum, codec, both sizes
_TO_CHUNKS = re.compile(
    rb"%b%b%b(?:\x00|\x02.{32}).{32}[\x00-\x7f]%b%b" % ((_LONG,) * 5), re.DOTALL
)
# sequence, version, hash, record, deleted, updated_at, snapshot hash
_TO_POINTERS = re.compile(rb"%b%b.{64}[\x00\x01]%b.{32}" % ((_LONG,) * 3), re.DOTALL)
_NONCE = re.compile(rb"%b(?:\x00|\x02.{16})" % _LONG, re.DOTALL)
_ORIGIN_KIND = b"\x04"


class Lost(CorruptData):
    """An index entry that names a snapshot which the backup does not hold."""


class _Odd(Exception):
    """Bytes that are not laid out as this release writes them."""


class Relocation:
    """New offsets for the records of one partition.

    ``events_start`` is where the new, empty partition of events begins: all that a snapshot holds
    is before it. ``hole`` is an offset of snapshots at which there never is a record: what is no
    longer there is said to be there.
    """

    def __init__(self, place: Place, elsewhere: Elsewhere, events_start: int, hole: int) -> None:
        self._place = place
        self._elsewhere = elsewhere
        self._events_start = events_start
        self._hole = hole
        self._events = encode_long(events_start)
        self._snapshot_header = codec("Snapshot").header
        self._index_header = codec("SnapshotIndex").header

    def snapshot(self, value: bytes) -> bytes:
        """A record of snapshots that is no chunk of one."""
        try:
            return self._spliced_snapshot(value)
        except _Odd:
            return self.snapshot_slowly(value)

    def entry(self, value: bytes) -> bytes:
        """An agent's index entry. Raises :class:`Lost` where a snapshot of its chain is not
        there.
        """
        try:
            return self._spliced_entry(value)
        except _Odd:
            return self.entry_slowly(value)

    def state(self, value: bytes) -> bytes | None:
        """A record of where a checkpoint's state is; None where it is nowhere any more."""
        state = decode_state(value)
        offset = self._place(state.offset)
        return (
            None if offset is None else encode_state(msgspec.structs.replace(state, offset=offset))
        )

    def position(self, partition: int, value: bytes | None, written_at: int) -> bytes:
        """The compactor's position: at the start of the new partition of events. ``value`` is the
        one before, None where the compactor never came to one.
        """
        before = dict.fromkeys(("repeats", "stale", "conflicts", "dead_letters"), 0)
        record = before if value is None else codec("Position").decode(value)
        return codec("Position").encode(
            {
                "node_id": "",
                **record,
                "partition": partition,
                "next_offset": self._events_start,
                "updated_at": written_at,
            }
        )

    def snapshot_slowly(self, value: bytes) -> bytes:
        """Like :meth:`snapshot`, by decoding it."""
        record = codec("Snapshot").decode(value)
        record["events_offset"] = self._events_start
        record["chunks"] = [self._gone_or(self._place(each)) for each in record["chunks"]]
        self._move(record["previous"])
        if record["kind"] == ORIGIN:
            self._move_origin(record)
        return codec("Snapshot").encode(record)

    def entry_slowly(self, value: bytes) -> bytes:
        """Like :meth:`entry`, by decoding it."""
        record = codec("SnapshotIndex").decode(value)
        for pointer in record["snapshots"]:
            pointer["offset"] = self._kept(pointer["offset"])
        return codec("SnapshotIndex").encode(record)

    def _gone_or(self, offset: int | None) -> int:
        return self._hole if offset is None else offset

    def _kept(self, offset: int) -> int:
        found = self._place(offset)
        if found is None:
            raise Lost(f"the backup holds no snapshot of offset {offset}", "pointer")
        return found

    def _move(self, pointers: list[Record]) -> None:
        for pointer in pointers:
            pointer["offset"] = self._gone_or(self._place(pointer["offset"]))

    def _move_origin(self, record: Record) -> None:
        """An origin names snapshots of other partitions, too; its payload changes with them."""
        if record["chunks"]:
            # It is a copy of one event, with what that says; only one that holds its whole state
            # itself grows to several records.
            return
        compressed = record["codec"] != Codec.NONE
        payload = record["payload"]
        if compressed:
            payload = decompress(payload, record["codec"], record["original_size"])
        origin = decode_origin(payload)
        if not origin.base:
            return
        base = tuple(
            msgspec.structs.replace(b, offset=self._gone_or(self._elsewhere(b.partition, b.offset)))
            for b in origin.base
        )
        payload = encode_origin(msgspec.structs.replace(origin, base=base))
        stored = compress(payload, Codec(record["codec"])) if compressed else payload
        record["checksum"] = sha256(payload).digest()
        record["payload"] = stored
        record["original_size"] = len(payload) if compressed else 0
        record["compressed_size"] = len(stored) if compressed else 0

    def _spliced_snapshot(self, value: bytes) -> bytes:
        if not value.startswith(self._snapshot_header):
            raise _Odd
        at = _after_text(value, _after_text(value, HEADER_BYTES))
        head = _TO_EVENTS_OFFSET.match(value, at)
        if head is None or head[1] == _ORIGIN_KIND:
            raise _Odd
        begin = head.end()
        rest = at = _matched(_NUMBER, value, begin)
        at = _after_text(value, _after_optional(value, _after_text(value, at)))
        at = _matched(_TO_CHUNKS, value, at)
        if value[at : at + 2] == b"\0\0":  # neither chunks nor a chain before
            return b"".join((value[:begin], self._events, value[rest:]))
        after, chunks = self._chunks(value, at)
        end, previous = self._pointers(value, after, lambda o: self._gone_or(self._place(o)))
        return b"".join(
            (value[:begin], self._events, value[rest:at], chunks, previous, value[end:])
        )

    def _spliced_entry(self, value: bytes) -> bytes:
        begin = _pointers_at(value, self._index_header)
        end, pointers = self._pointers(value, begin, self._kept)
        return b"".join((value[:begin], pointers, value[end:]))

    def _chunks(self, value: bytes, at: int) -> tuple[int, bytes]:
        count, begin = _long(value, at)
        parts = [value[at:begin]]
        for _ in range(count):
            offset, begin = _long(value, begin)
            parts.append(encode_long(self._gone_or(self._place(offset))))
        return (_ended(value, begin), b"".join([*parts, b"\0"])) if count else (begin, b"\0")

    @staticmethod
    def _pointers(value: bytes, at: int, move: Callable[[int], int]) -> tuple[int, bytes]:
        count, begin = _long(value, at)
        parts = [value[at:begin]]
        for _ in range(count):
            found = _POINTER.match(value, begin)
            if found is None:
                raise _Odd
            parts.append(encode_long(move(_long(value, begin)[0])))
            parts.append(found[2])
            begin = found.end()
        return (_ended(value, begin), b"".join([*parts, b"\0"])) if count else (begin, b"\0")


def pointed_to(value: bytes) -> int:
    """The highest offset of snapshots that an index entry names; -1 where it names none."""
    try:
        at = _pointers_at(value, codec("SnapshotIndex").header)
        count, at = _long(value, at)
        highest = -1
        for _ in range(count):
            found = _POINTER.match(value, at)
            if found is None:
                raise _Odd
            highest = max(highest, _long(value, at)[0])
            at = found.end()
        return highest
    except _Odd:
        record = codec("SnapshotIndex").decode(value)
        return max((p["offset"] for p in record["snapshots"]), default=-1)


def _pointers_at(value: bytes, header: bytes) -> int:
    if not value.startswith(header):
        raise _Odd
    at = _matched(_NONCE, value, _after_text(value, HEADER_BYTES))
    at = _matched(_NUMBER, value, _after_text(value, at) + 16)  # incarnation, lease
    at = _after_optional(value, _after_text(value, at))
    return _matched(_TO_POINTERS, value, at)


def _long(value: bytes, at: int) -> tuple[int, int]:
    """A non-negative long of Avro's, and where it ends."""
    byte = value[at] if at < len(value) else _odd()
    number, shift, at = byte & 0x7F, 7, at + 1
    while byte > 0x7F:
        byte = value[at] if at < len(value) else _odd()
        number |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
    if number & 1:
        raise _Odd
    return number >> 1, at


def _odd() -> int:
    raise _Odd


def _after_text(value: bytes, at: int) -> int:
    length, at = _long(value, at)
    return at + length


def _after_optional(value: bytes, at: int) -> int:
    branch = value[at : at + 1]
    if branch == b"\2":
        return _after_text(value, at + 1)
    if branch != b"\0":
        raise _Odd
    return at + 1


def _matched(pattern: re.Pattern[bytes], value: bytes, at: int) -> int:
    found = pattern.match(value, at)
    if found is None:
        raise _Odd
    return found.end()


def _ended(value: bytes, at: int) -> int:
    if value[at : at + 1] != b"\0":
        raise _Odd
    return at + 1
