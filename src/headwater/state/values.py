"""Values that a state can hold, and their lossless MessagePack form.

Supported are None, bool, int of any size, float (NaN and its bits, infinities, -0.0), str, bytes,
datetime (naive, with a fixed offset, or with a ZoneInfo), date, UUID, Decimal, tuple, set,
frozenset, list, and dict with str keys, in any nesting down to `MAX_DEPTH`. Types are exact: a
subclass (an IntEnum, a namedtuple, an OrderedDict) would come back as its base, so it is refused.

What MessagePack has no form for is an extension:

==== ========= ==============================================================================
code type      payload
==== ========= ==============================================================================
1    int       beyond 64 bits: two's complement, big-endian, as few bytes as possible
2    tuple     a MessagePack array
3    set       a MessagePack array, elements sorted by their packed bytes
4    frozenset like 3
5    datetime  ``[text, fold, zone]``: ISO text with microseconds and without offset; zone is nil,
               the offset in microseconds, ``[offset, name]``, or the key of an IANA zone
6    date      ISO text
7    UUID      16 bytes
8    Decimal   text as in the General Decimal Arithmetic specification (``-0``, ``1E+5``, ``sNaN``)
==== ========= ==============================================================================

Packing keeps the order of maps. The canonical form differs from the packed one in this alone, that
maps are sorted by key (code points, which is also the order of the UTF-8 bytes): equal states have
equal canonical bytes, and ``1``, ``1.0`` and ``True``, or ``0.0`` and ``-0.0``, stay distinct.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec.msgpack import Ext

from headwater.errors import PathItem, UndecodableRecord, UnsupportedValue, format_path
from headwater.state import special
from headwater.state.special import Refused

MAX_DEPTH = 100
"""Containers inside containers, the document itself counted; deeper ones are refused.

Far from Python's recursion limit, so that what one process can pack, any other can unpack.
"""

TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels, or a part of itself"
SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_STR_ONLY = frozenset({str})
_SUPPORTED = "None, bool, int, float, str, bytes, datetime, date, UUID, Decimal, tuple, set, \
frozenset, list, dict with str keys"

_Encode = Callable[[Any], bytes]
_encode: _Encode = msgspec.msgpack.Encoder().encode
_encode_sorted: _Encode = msgspec.msgpack.Encoder(order="sorted").encode
# What msgspec raises for a simple value that needs the slow path: a large int, a lone surrogate.
_TOO_SIMPLE = (OverflowError, UnicodeEncodeError)


def pack(value: Any, path: Sequence[PathItem] = ()) -> bytes:
    """The value as MessagePack, maps in their own order.

    ``path`` is where the value stands in its document, for errors and for the depth limit.
    Raises `UnsupportedValue`, naming the place, for what no state can hold.
    """
    return _pack(value, path, _encode)


def canonical(value: Any, path: Sequence[PathItem] = ()) -> bytes:
    """The value as MessagePack, maps sorted by key: equal for equal values, and only for them.

    ``path`` and errors as for `pack`.
    """
    return _pack(value, path, _encode_sorted)


def unpack(data: bytes) -> Any:
    """The value that `pack` or `canonical` made ``data`` from.

    Raises `UndecodableRecord` for any other bytes; whatever it returns can be packed again.
    """
    value = decode(data)
    try:
        _check(value, 0)
    except Refused as error:
        raise UndecodableRecord(f"a value that no state can hold: {error}") from None
    return value


def copy_value(value: Any, path: Sequence[PathItem] = ()) -> Any:
    """A deep copy that shares nothing mutable with ``value``.

    Raises `UnsupportedValue`, naming the place, for what no state can hold.
    """
    kind = type(value)
    if kind is str:
        if value.isascii():  # without a lone surrogate, for which others are packed
            return value
    elif kind in SCALARS:
        return value
    return copy_and_pack(value, path)[0]


def copy_and_pack(value: Any, path: Sequence[PathItem] = ()) -> tuple[Any, bytes]:
    """A deep copy and the packed form, checked and made together.

    Raises `UnsupportedValue`, naming the place, for what no state can hold.
    """
    kind = type(value)
    try:
        if kind in SCALARS:
            return value, _encode(value)
        if _is_flat(value, kind) and len(path) < MAX_DEPTH:
            copied = value.copy()
            return copied, _encode(copied)
    except _TOO_SIMPLE:
        pass
    packed = pack(value, path)
    return decode(packed), packed


def same(one: Any, other: Any) -> bool:
    """Equal in every value and every type; NaN is the same as a NaN of the same bits.

    Raises `UnsupportedValue` for what no state can hold.
    """
    kind = type(one)
    if kind is not type(other):
        return False
    if one is other:
        return True
    if kind is float or kind not in SCALARS:
        return canonical(one) == canonical(other)
    return bool(one == other)


def heaviest(value: Any) -> tuple[PathItem, ...]:
    """The path of the part that makes up most of a supported value: the one to name as too large.

    Goes down as long as one part holds more than half of what holds it.
    """
    path: tuple[PathItem, ...] = ()
    size = len(pack(value))
    while type(value) in (dict, list) and value:
        parts = value.items() if type(value) is dict else enumerate(value)
        part_size, key = max(((len(pack(part)), key) for key, part in parts), key=lambda p: p[0])
        if part_size * 2 <= size:
            break
        path, value, size = (*path, key), value[key], part_size
    return path


def decode(data: bytes) -> Any:
    """Like `unpack`, without the check for maps with keys other than text and for depth.

    For bytes whose values are checked later, or that this process has packed. Raises
    `UndecodableRecord`.
    """
    try:
        return _decode(data)
    except Exception as error:
        # Rubbish can make any of the parsers behind the hook raise nearly anything.
        raise UndecodableRecord(f"not the packed form of a value: {error}") from error


def _pack(value: Any, path: Sequence[PathItem], encode: _Encode) -> bytes:
    level = len(path)
    try:
        if _is_simple(value, level):
            return encode(value)
        return encode(_prepare(value, level, encode, False))
    except _TOO_SIMPLE:
        pass
    except Refused as error:
        raise _unsupported(error, path) from None
    try:
        return encode(_prepare(value, level, encode, True))
    except Refused as error:
        raise _unsupported(error, path) from None


def _unsupported(error: Refused, path: Sequence[PathItem]) -> UnsupportedValue:
    where = (*path, *reversed(error.path))
    return UnsupportedValue(f"{format_path(where)} cannot be kept: {error.reason}", where)


def _is_flat(value: Any, kind: type) -> bool:
    """Whether it is a map with keys of text, or a list, that holds nothing but scalars."""
    if kind is dict:
        items = value.values()
        return _STR_ONLY.issuperset(map(type, value)) and SCALARS.issuperset(map(type, items))
    return kind is list and SCALARS.issuperset(map(type, value))


def _is_simple(value: Any, level: int) -> bool:
    """Whether msgspec's own encoding is right for it: nothing but scalars, lists and dicts."""
    kind = type(value)
    if kind is dict:
        if not _STR_ONLY.issuperset(map(type, value)):
            return False
        items = value.values()
    elif kind is list:
        items = value
    else:
        return kind in SCALARS
    if level >= MAX_DEPTH:
        return False
    if SCALARS.issuperset(map(type, items)):
        return True
    level += 1
    for item in items:
        kind = type(item)
        if kind is dict or kind is list:
            if not _is_simple(item, level):
                return False
        elif kind not in SCALARS:
            return False
    return True


def _check(value: Any, level: int) -> None:
    """`Refused` where a decoded value, whose types are right, has a shape that no state can."""
    kind = type(value)
    if kind in SCALARS or kind in special.PACKERS:
        return
    if level >= MAX_DEPTH:
        raise Refused(TOO_DEEP)
    items = value
    if kind is dict:
        if not _STR_ONLY.issuperset(map(type, value)):
            raise Refused("a map with a key that is not a str")
        items = value.values()
    if not SCALARS.issuperset(map(type, items)):
        for item in items:
            _check(item, level + 1)


def _prepare(value: Any, level: int, encode: _Encode, strict: bool) -> Any:
    """The value with extensions in place of what msgspec would encode otherwise, or not at all.

    Not ``strict``, it leaves flat containers to msgspec, which raises `_TOO_SIMPLE` where an
    integer or a text in them needs a closer look.
    """
    kind = type(value)
    if kind in SCALARS:
        if strict and kind is int and not -(2**63) <= value < 2**64:
            return special.pack_big_int(value)
        return special.check_text(value) if strict and kind is str else value
    packer = special.PACKERS.get(kind)
    if packer is not None:
        return packer(value)
    container = _CONTAINERS.get(kind)
    if container is None:
        name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        raise Refused(f"type {name} is not one of {_SUPPORTED}")
    if level >= MAX_DEPTH:
        raise Refused(TOO_DEEP)
    return container(value, level + 1, encode, strict)


def _prepare_dict(value: dict[Any, Any], level: int, encode: _Encode, strict: bool) -> Any:
    if not strict and _is_flat(value, dict):
        return value
    prepared = {}
    for key, item in value.items():
        if type(key) is not str:
            raise Refused(f"a map with a key of type {type(key).__name__}, not str")
        if strict:
            special.check_text(key)
        try:
            prepared[key] = _prepare(item, level, encode, strict)
        except Refused as error:
            error.path.append(key)
            raise
    return prepared


def _prepare_list(value: Sequence[Any], level: int, encode: _Encode, strict: bool) -> Any:
    if not strict and SCALARS.issuperset(map(type, value)):
        return value
    prepared = []
    for index, item in enumerate(value):
        try:
            prepared.append(_prepare(item, level, encode, strict))
        except Refused as error:
            error.path.append(index)
            raise
    return prepared


def _prepare_tuple(value: tuple[Any, ...], level: int, encode: _Encode, strict: bool) -> Any:
    return Ext(special.TUPLE, encode(_prepare_list(value, level, encode, strict)))


def _prepare_set(value: Any, level: int, encode: _Encode, strict: bool) -> Any:
    code = special.SET if type(value) is set else special.FROZENSET
    elements = sorted(encode(_prepare(item, level, encode, strict)) for item in value)
    return Ext(code, _encode([msgspec.Raw(element) for element in elements]))


_CONTAINERS: dict[type, Callable[[Any, int, _Encode, bool], Any]] = {
    dict: _prepare_dict,
    list: _prepare_list,
    tuple: _prepare_tuple,
    set: _prepare_set,
    frozenset: _prepare_set,
}


def _unpack_elements(data: bytes) -> list[Any]:
    items = _decode(data)
    if type(items) is not list:
        raise ValueError("an extension without its array")
    return items


def _unpack_set(data: bytes, kind: type[Any]) -> Any:
    items = _unpack_elements(data)
    value = kind(items)
    if len(value) != len(items):
        raise ValueError("a set with the same element twice")
    return value


_UNPACKERS: dict[int, Callable[[bytes], Any]] = {
    **special.UNPACKERS,
    special.TUPLE: lambda data: tuple(_unpack_elements(data)),
    special.SET: lambda data: _unpack_set(data, set),
    special.FROZENSET: lambda data: _unpack_set(data, frozenset),
}


def _unpack_extension(code: int, data: memoryview) -> Any:
    unpacker = _UNPACKERS.get(code)
    if unpacker is None:
        raise ValueError(f"unknown extension {code}")
    return unpacker(bytes(data))


_decode = msgspec.msgpack.Decoder(ext_hook=_unpack_extension).decode
