"""Patches: what a change does to a document, as a short list of operations.

An operation is a tuple; a path is a list of map keys (str) and list indexes (int, not negative),
the first of which names a field:

========================================== =====================================================
``(SET, path, value)``                     put a value under a map's key, or in a list's place
``(REMOVE, path)``                         take a key out of a map, or a place out of a list
``(APPEND, path, value)``                  add a value at the end of the list at ``path``
``(SPLICE, path, index, count, values)``   replace ``count`` places of the list at ``path``
``(TEXT, path, text)``                     add to the end of the text at ``path``
========================================== =====================================================

Packed, a patch is a MessagePack array of such arrays, values as in `headwater.state.values`.
Sets and tuples are values as a whole: no path leads into them. A field cannot be removed, and
keeps its type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headwater.errors import (
    ChangeRejected,
    PathItem,
    UndecodableRecord,
    UnsupportedValue,
    format_path,
)
from headwater.state.model import FIELD_TYPES, Document
from headwater.state.values import copy_value, decode, pack

SET, REMOVE, APPEND, SPLICE, TEXT = range(5)

TEXT_FROM = 64
"""Text of at least so many characters that grows at its end is recorded as growth."""

Op = tuple[Any, ...]
Path = Sequence[PathItem]

_encode = msgspec.msgpack.Encoder().encode
MISSING = object()
_ARRAYS = (list, tuple)


class PatchError(ChangeRejected):
    """A patch that cannot be applied to the document; the document is as it was before."""


def encode_patch(ops: Sequence[Op]) -> bytes:
    """The packed form of operations, as a draft or a diff makes them.

    Raises `UnsupportedValue`, naming the place, for a value that no state can hold.
    """
    return _encode([_packed_op(op) for op in ops])


def _packed_op(op: Op) -> list[Any]:
    code, path, *rest = op
    if rest:
        try:
            rest[-1] = msgspec.Raw(pack(rest[-1], path))
        except UnsupportedValue:
            if code == SPLICE:
                # Named by where it would stand, not by its place among the new values.
                for i, value in enumerate(rest[-1], start=rest[0]):
                    pack(value, (*path, i))
            raise
    return [code, msgspec.Raw(pack(list(path))), *rest]


def decode_patch(data: bytes) -> list[Op]:
    """The operations that ``data`` packs, unchecked: applying them is what checks them.

    Raises `UndecodableRecord` where ``data`` is not a MessagePack array.
    """
    ops = decode(data)
    if type(ops) is not list:
        raise UndecodableRecord("a patch that is not an array")
    return [tuple(op) if type(op) is list else op for op in ops]


def apply_patch(document: Document, ops: Sequence[Op]) -> None:
    """Apply all operations, in place and in order, or none.

    Total and deterministic: whatever `decode_patch` returned either applies or raises `PatchError`
    and leaves the document's values as they were. Values are copied into the document, so the same
    operations can be applied to another one.
    """
    if type(ops) not in _ARRAYS:
        raise PatchError("a patch is a list of operations")
    undo: Undo = []
    try:
        for op in ops:
            _apply(document, op, undo)
    except PatchError:
        roll_back(undo)
        raise
    except UnsupportedValue as error:
        roll_back(undo)
        raise PatchError(str(error)) from None


def _apply(document: Document, op: Op, undo: Undo) -> None:
    if type(op) not in _ARRAYS or len(op) < 2:
        raise PatchError(f"not an operation: {_brief(op)}")
    code, path = op[0], op[1]
    if type(code) is not int or not 0 <= code < len(_APPLIERS):
        raise PatchError(f"no such operation: {_brief(code)}")
    applier, size = _APPLIERS[code]
    if len(op) != size:
        raise PatchError(f"operation {code} has {len(op)} parts, not {size}")
    if type(path) not in _ARRAYS or not path:
        raise PatchError(f"not a path: {_brief(path)}")
    applier(document, path, op, undo)


def _set(document: Document, path: Path, op: Op, undo: Undo) -> None:
    value = op[2]
    container, key = _parent(document, path)
    if container is document:
        types = FIELD_TYPES[key]
        if types is not None and type(value) not in types:
            raise PatchError(f"{key} cannot hold a value of type {type(value).__name__}")
    value = copy_value(value, path)
    if type(container) is dict:
        undo.append((UNSET, container, key, container.get(key, MISSING)))
    else:
        undo.append((UNSET, container, key, container[key]))
    container[key] = value


def _remove(document: Document, path: Path, op: Op, undo: Undo) -> None:
    container, key = _parent(document, path)
    if container is document:
        raise PatchError(f"{key} is a field, which cannot be removed")
    if type(container) is dict:
        if key not in container:
            raise PatchError(f"{format_path(path)} is not there to be removed")
        undo.append((UNSET, container, key, container.pop(key)))
    else:
        undo.append((UNSPLICE, container, key, 0, [container.pop(key)]))


def _append(document: Document, path: Path, op: Op, undo: Undo) -> None:
    target = _list_at(document, path)
    size = len(target)
    target.append(copy_value(op[2], (*path, size)))
    undo.append((UNSPLICE, target, size, 1, []))


def _splice(document: Document, path: Path, op: Op, undo: Undo) -> None:
    target = _list_at(document, path)
    _, _, index, count, values = op
    if type(index) is not int or type(count) is not int or type(values) is not list:
        raise PatchError("a splice names two numbers and a list")
    end = index + count
    if index < 0 or count < 0 or end > len(target):
        raise PatchError(f"{format_path(path)} has {len(target)} places; the splice needs others")
    values = copy_value(values, path)
    undo.append((UNSPLICE, target, index, len(values), target[index:end]))
    target[index:end] = values


def _text(document: Document, path: Path, op: Op, undo: Undo) -> None:
    text = op[2]
    container, key = _parent(document, path)
    old = container.get(key) if type(container) is dict else container[key]
    if type(old) is not str or type(text) is not str:
        raise PatchError(f"{format_path(path)} and what is added to it are not both text")
    undo.append((UNSET, container, key, old))
    container[key] = old + text


_APPLIERS: list[tuple[Callable[[Document, Path, Op, Undo], None], int]] = [
    (_set, 3),
    (_remove, 2),
    (_append, 3),
    (_splice, 5),
    (_text, 3),
]


def _resolve(document: Document, path: Path) -> Any:
    node: Any = document
    for item in path:
        kind = type(node)
        if kind is dict and type(item) is str:
            node = node.get(item, MISSING)
            if node is not MISSING:
                continue
        elif kind is list and type(item) is int and 0 <= item < len(node):
            node = node[item]
            continue
        raise PatchError(f"nothing stands at {_brief_path(path)}")
    return node


def _parent(document: Document, path: Path) -> tuple[Any, Any]:
    """What holds the end of the path, and the key there: any text for a map, a place of a list."""
    key = path[-1]
    container = _resolve(document, path[:-1]) if len(path) > 1 else document
    kind = type(container)
    if kind is dict and type(key) is str and (container is not document or key in FIELD_TYPES):
        return container, key
    if kind is list and type(key) is int and 0 <= key < len(container):
        return container, key
    raise PatchError(f"no place to change at {_brief_path(path)}")


def _list_at(document: Document, path: Path) -> list[Any]:
    target = _resolve(document, path)
    if type(target) is not list:
        raise PatchError(f"{format_path(path)} is not a list")
    return target


def _brief_path(path: Path) -> str:
    return format_path([_brief(item) for item in path[:10]])


def _brief(value: Any) -> str:
    """A short text for rubbish: only of what has a short one, the same on every machine."""
    if type(value) is str:
        return value[:40]
    if type(value) is int and value.bit_length() < 64:
        return str(value)
    return f"<{type(value).__name__}>"


# Undoing, shared with drafts. An entry names a container and what to put back there.
Undo = list[tuple[Any, ...]]
UNSET, UNSPLICE, REFILL, UNADD, READD = range(5)


def roll_back(undo: Undo) -> None:
    """Undo what the entries recorded, newest first, and forget them."""
    while undo:
        kind, container, *rest = undo.pop()
        if kind == UNSPLICE:
            index, count, old = rest
            container[index : index + count] = old
        elif kind == UNSET:
            key, old = rest
            if old is MISSING:
                container.pop(key, None)
            else:
                container[key] = old
        elif kind == REFILL:
            container.clear()
            container.update(rest[0])
        elif kind == UNADD:
            container.discard(rest[0])
        else:
            container.add(rest[0])
