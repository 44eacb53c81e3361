"""The small record that says which chunks make up a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec


class Manifest(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The chunks of one save, all in one partition; ``size_bytes`` is that of all together."""

    save_id: bytes
    partition: int
    offsets: list[int]
    size_bytes: int

    def encode(self) -> bytes:
        """MessagePack."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, raw: bytes) -> Manifest | None:
        """The manifest; None for bytes that are none."""
        try:
            return msgspec.msgpack.decode(raw, type=cls)
        except msgspec.DecodeError:
            return None


def chunk_key(save_id: bytes, number: int) -> bytes:
    """The key of a save's chunk, used once and never again until its tombstone."""
    return save_id + number.to_bytes(2, "big")


def save_id_of(key: bytes) -> bytes:
    """The save that a chunk belongs to."""
    return key[:-2]


def runs(offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Offsets that follow each other as ranges ``[first, end)``, in order.

    >>> list(runs([4, 5, 6, 9]))
    [(4, 7), (9, 10)]
    """
    first = end = None
    for offset in offsets:
        if end is not None and first is not None and offset != end:
            yield first, end
            first = None
        first = offset if first is None else first
        end = offset + 1
    if first is not None and end is not None:
        yield first, end
