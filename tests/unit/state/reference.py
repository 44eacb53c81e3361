"""The canonical encoding once more, by the tables in the documentation and without msgspec."""

from __future__ import annotations

import struct
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID


def encode(value: Any) -> bytes:
    """The canonical MessagePack form of a value, as documented in `headwater.state.values`."""
    kind: Any = type(value)
    if value is None or kind is bool:
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if kind is int:
        return _integer(value)
    if kind is float:
        return b"\xcb" + struct.pack(">d", value)
    if kind is str:
        data: bytes = value.encode()
        return _header(len(data), 0xA0, 31, (0xD9, 0xDA, 0xDB)) + data
    if kind is bytes:
        return _header(len(value), 0, -1, (0xC4, 0xC5, 0xC6)) + bytes(value)
    if kind is list:
        return _array([encode(item) for item in value])
    if kind is dict:
        pairs = [(key.encode(), encode(key) + encode(item)) for key, item in value.items()]
        body = b"".join(pair for _, pair in sorted(pairs))
        return _header(len(value), 0x80, 15, (None, 0xDE, 0xDF)) + body
    return _extension(*_payload(value))


def _integer(value: int) -> bytes:
    if -32 <= value < 128:
        return struct.pack(">b", value)
    forms = [(0xCC, ">B"), (0xCD, ">H"), (0xCE, ">I"), (0xCF, ">Q")]
    if value < 0:
        forms = [(0xD0, ">b"), (0xD1, ">h"), (0xD2, ">i"), (0xD3, ">q")]
    for code, form in forms:
        try:
            return bytes([code]) + struct.pack(form, value)
        except struct.error:
            continue
    size = 1
    while not -(1 << (8 * size - 1)) <= value < 1 << (8 * size - 1):
        size += 1
    return _extension(1, value.to_bytes(size, "big", signed=True))


def _payload(value: Any) -> tuple[int, bytes]:
    if type(value) is tuple:
        return 2, _array([encode(item) for item in value])
    if type(value) in (set, frozenset):
        code = 3 if type(value) is set else 4
        return code, _array(sorted(encode(item) for item in value))
    if type(value) is datetime:
        text = value.replace(tzinfo=None).strftime("%Y-%m-%dT%H:%M:%S.%f").rjust(26, "0")
        return 5, encode([text, value.fold, _zone(value.tzinfo)])
    if type(value) is date:
        return 6, f"{value.year:04}-{value.month:02}-{value.day:02}".encode()
    if type(value) is UUID:
        return 7, value.int.to_bytes(16, "big")
    assert type(value) is Decimal
    return 8, str(value).encode()


def _zone(zone: Any) -> Any:
    if zone is None:
        return None
    if type(zone) is timezone:
        micros = zone.utcoffset(None) // timedelta(microseconds=1)
        named = repr(zone).count(", '")
        return [micros, zone.tzname(None)] if named else micros
    return zone.key


def _array(items: list[bytes]) -> bytes:
    return _header(len(items), 0x90, 15, (None, 0xDC, 0xDD)) + b"".join(items)


def _header(size: int, small: int, limit: int, codes: tuple[int | None, int, int]) -> bytes:
    if size <= limit:
        return bytes([small + size])
    for code, form, bound in zip(codes, (">B", ">H", ">I"), (2**8, 2**16, 2**32), strict=True):
        if code is not None and size < bound:
            return bytes([code]) + struct.pack(form, size)
    raise ValueError("too long")


def _extension(code: int, data: bytes) -> bytes:
    fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}.get(len(data))
    head = bytes([fixed]) if fixed else _header(len(data), 0, -1, (0xC7, 0xC8, 0xC9))
    return head + bytes([code]) + data
