"""The MessagePack extensions for the scalar types that MessagePack lacks.

A payload is language-neutral: text in the type's usual notation, or plain big-endian bytes. The
extension codes and payloads are listed in `headwater.state.values`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Context, Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Ext

BIG_INT, TUPLE, SET, FROZENSET, DATETIME, DATE, UUID_, DECIMAL = range(1, 9)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_MICROSECOND = timedelta(microseconds=1)
# str(Decimal) follows the thread's context (capitals); the bytes must not.
_DECIMAL_TEXT = Context(capitals=1).to_sci_string


class Refused(Exception):
    """A value that no state can hold; ``path`` grows from the inside out while it unwinds."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str | int] = []


class UnknownZone(tzinfo):
    """A time zone of which this machine's tz database knows nothing.

    It keeps the key, so that a state passes through such a machine unchanged, byte for byte. A
    datetime that bears it has no offset: it compares as a naive one.
    """

    def __init__(self, key: str) -> None:
        self.key = key

    def __repr__(self) -> str:
        return f"UnknownZone(key={self.key!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is UnknownZone and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        return UnknownZone, (self.key,)

    def utcoffset(self, when: datetime | None, /) -> None:
        """None: the offset is not known here."""

    def dst(self, when: datetime | None, /) -> None:
        """None: the offset is not known here."""

    def tzname(self, when: datetime | None, /) -> str:
        """The zone's key."""
        return self.key


def check_text(text: str) -> str:
    """The text itself, or `Refused` where it has no UTF-8 form."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Refused(f"text with a lone surrogate at {error.start}") from None
    return text


def _pack_zone(zone: tzinfo) -> Any:
    kind = type(zone)
    if kind is timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        microseconds = offset // _MICROSECOND
        return [microseconds, check_text(name[0])] if name else microseconds
    if kind is ZoneInfo or kind is UnknownZone:
        key: str | None = zone.key  # type: ignore[attr-defined]
        if key is not None:
            return check_text(key)
        raise Refused("a datetime whose ZoneInfo has no key")
    name_of = f"{kind.__module__}.{kind.__qualname__}"
    raise Refused(f"a datetime with a time zone of type {name_of}, not timezone or ZoneInfo")


def _unpack_zone(zone: Any) -> tzinfo | None:
    if zone is None:
        return None
    if type(zone) is int:
        return timezone(timedelta(microseconds=zone))
    if type(zone) is str:
        try:
            return ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            return UnknownZone(zone)
    microseconds, name = zone
    return timezone(timedelta(microseconds=microseconds), name)


def _pack_datetime(value: datetime) -> Ext:
    zone = None if value.tzinfo is None else _pack_zone(value.tzinfo)
    text = value.replace(tzinfo=None).isoformat(timespec="microseconds")
    return Ext(DATETIME, _encode([text, value.fold, zone]))


def _unpack_datetime(data: bytes) -> datetime:
    text, fold, zone = _decode(data)
    value = datetime.fromisoformat(text)
    if value.tzinfo is not None:
        raise ValueError("an offset inside the text of a datetime")
    return value.replace(tzinfo=_unpack_zone(zone), fold=fold)


def _unpack_decimal(data: bytes) -> Decimal:
    text = data.decode("ascii")
    value = Decimal(text)
    # Where the caller's context does not trap it, bad text gives a NaN instead of an error.
    if value.is_nan() and "nan" not in text.lower():
        raise ValueError("not a decimal number")
    return value


def pack_big_int(value: int) -> Ext:
    """An integer outside 64 bits as minimal two's complement."""
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return Ext(BIG_INT, value.to_bytes(size, "big", signed=True))


PACKERS: dict[type, Callable[[Any], Ext]] = {
    datetime: _pack_datetime,
    date: lambda value: Ext(DATE, value.isoformat().encode()),
    UUID: lambda value: Ext(UUID_, value.bytes),
    Decimal: lambda value: Ext(DECIMAL, _DECIMAL_TEXT(value).encode()),
}

UNPACKERS: dict[int, Callable[[bytes], Any]] = {
    BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    DATETIME: _unpack_datetime,
    DATE: lambda data: date.fromisoformat(data.decode("ascii")),
    UUID_: lambda data: UUID(bytes=data),
    DECIMAL: _unpack_decimal,
}
