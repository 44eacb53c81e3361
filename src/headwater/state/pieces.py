"""A whole document as patches of a bounded size, for states that no single change can hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from headwater.errors import TooLarge, format_path
from headwater.state.model import FIELDS, Document
from headwater.state.patch import SET, SPLICE, TEXT, Op, encode_patch
from headwater.state.values import pack

# What an operation is wrapped in: its code, the marks of its parts, its path apart.
_AROUND_BYTES = 64
_UTF8_BYTES = 4


def in_pieces(document: Document, limit_bytes: int) -> list[bytes]:
    """Packed patches of at most ``limit_bytes`` each that make ``document`` of the empty one.

    Raises :class:`TooLarge` where a single value that cannot be put together from parts (bytes,
    a tuple, a set) is larger than that.
    """
    patches: list[bytes] = []
    ops: list[Op] = []
    size = 0
    for op in _ops(document, limit_bytes - _AROUND_BYTES):
        added = len(encode_patch([op]))
        if ops and size + added > limit_bytes:
            patches.append(encode_patch(ops))
            ops, size = [], 0
        ops.append(op)
        size += added
    return [*patches, encode_patch(ops)]


def _ops(document: Document, room: int) -> Iterator[Op]:
    # The status last: until it is set, a reader sees an agent that is still new.
    for name in sorted(FIELDS, key="status".__eq__):
        yield from _put((name,), document[name], room)


def _put(path: tuple[Any, ...], value: Any, room: int) -> Iterator[Op]:
    """Operations that put ``value`` at ``path``, where nothing is yet that matters."""
    packed, kind = len(pack(value)) + len(pack(list(path))), type(value)
    if packed <= room:
        yield SET, path, value
    elif kind is dict:
        yield SET, path, {}
        for key, item in value.items():
            yield from _put((*path, key), item, room)
    elif kind is list:
        yield SET, path, []
        for index, item in enumerate(value):
            # A place first; what is in it may need several operations.
            yield from _append(path, index, item, room)
    elif kind is str:
        step = max(1, room // (2 * _UTF8_BYTES))
        yield SET, path, value[:step]
        for start in range(step, len(value), step):
            yield TEXT, path, value[start : start + step]
    else:
        raise TooLarge(f"{format_path(path)}, which is one value,", packed, room, path)


def _append(path: tuple[Any, ...], index: int, item: Any, room: int) -> Iterable[Op]:
    fits = len(pack(item)) + len(pack(list(path))) <= room
    yield SPLICE, path, index, 0, [item if fits else None]
    if not fits:
        yield from _put((*path, index), item, room)
