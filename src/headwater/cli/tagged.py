"""The values of a state as JSON, without loss.

What JSON has a form for stays as it is: null, booleans, strings, lists, maps, integers up to 53
bits, and finite floats (``1.0`` stays apart from ``1``). Anything else is a map with one key that
begins with ``$``:

=================================================  ================================================
``{"$int": "9007199254740993"}``                   an integer that JSON's readers would round
``{"$float": "NaN"}``                              ``NaN``, ``Infinity``, ``-Infinity``; a NaN with
                                                   other bits than the usual ones has them in hex,
                                                   ``NaN:7ff8000000000001``
``{"$bytes": "aGk="}``                             bytes, in base64
``{"$datetime": "2026-01-02T03:04:05+01:00"}``     a datetime, naive or with a fixed offset
``{"$datetime": "2026-01-02T03:04:05", "zone": "Europe/Berlin", "fold": 1}``  local time in a zone
``{"$datetime": "...+01:00", "name": "CET"}``      a fixed offset that bears a name
``{"$datetime": "...", "offset_us": 1}``           a fixed offset with a fraction of a second
``{"$date": "2026-01-02"}``                        a date
``{"$uuid": "..."}``, ``{"$decimal": "1.10"}``     a UUID, a Decimal
``{"$tuple": []}``, ``{"$set": []}``, ``{"$frozenset": []}``  a tuple, a set, a frozenset
=================================================  ================================================

``fold`` is left out when it is 0. A key of a map that itself begins with ``$`` gets one more.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from headwater.errors import UndecodableRecord
from headwater.state.special import UnknownZone
from headwater.state.values import canonical

_EXACT = 2**53
_ZERO = timedelta(0)
_MICROSECOND = timedelta(microseconds=1)
_USUAL_NAN = struct.pack(">d", math.nan)


def to_tagged(value: Any) -> Any:
    """A state's value as what ``json.dumps`` writes without loss."""
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if -_EXACT < value < _EXACT else {"$int": str(value)}
    if kind is float:
        return value if math.isfinite(value) else {"$float": _float_text(value)}
    if kind is list:
        return [to_tagged(each) for each in value]
    if kind is dict:
        return {_escaped(key): to_tagged(each) for key, each in value.items()}
    return _WRITERS[kind](value)


def from_tagged(value: Any) -> Any:
    """The value that :func:`to_tagged` made ``value`` from.

    Raises :class:`UndecodableRecord` for a tag that it does not know.
    """
    if isinstance(value, list):
        return [from_tagged(each) for each in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if tag.startswith("$") and not tag.startswith("$$"):
        reader = _READERS.get(tag)
        if reader is None:
            raise UndecodableRecord(f"no value is written as {tag!r}")
        return reader(value)
    return {_unescaped(key): from_tagged(each) for key, each in value.items()}


def _escaped(key: str) -> str:
    return f"${key}" if key.startswith("$") else key


def _unescaped(key: str) -> str:
    return key[1:] if key.startswith("$$") else key


def _float_text(value: float) -> str:
    if not math.isnan(value):
        return "Infinity" if value > 0 else "-Infinity"
    bits = struct.pack(">d", value)
    return "NaN" if bits == _USUAL_NAN else f"NaN:{bits.hex()}"


def _read_float(text: str) -> float:
    if text.startswith("NaN:"):
        (value,) = struct.unpack(">d", bytes.fromhex(text[4:]))
        return float(value)
    return float(text)


def _write_datetime(value: datetime) -> dict[str, Any]:
    zone = value.tzinfo
    fold = {"fold": value.fold} if value.fold else {}
    if isinstance(zone, ZoneInfo | UnknownZone):
        return {"$datetime": value.replace(tzinfo=None).isoformat(), "zone": zone.key, **fold}
    name: dict[str, Any] = {}
    if isinstance(zone, timezone):
        _, *given = zone.__getinitargs__()  # type: ignore[attr-defined]
        name = {"name": given[0]} if given else {}
        offset = value.utcoffset() or _ZERO
        if offset.microseconds:
            # `fromisoformat` takes +00:00:00.000001 for UTC.
            naive = value.replace(tzinfo=None).isoformat()
            return {"$datetime": naive, "offset_us": offset // _MICROSECOND, **name, **fold}
    return {"$datetime": value.isoformat(), **name, **fold}


def _read_datetime(tagged: dict[str, Any]) -> datetime:
    value = datetime.fromisoformat(tagged["$datetime"])
    if "zone" in tagged:
        value = value.replace(tzinfo=_zone(tagged["zone"]))
    elif "name" in tagged or "offset_us" in tagged:
        given = tagged.get("offset_us")
        offset = value.utcoffset() if given is None else given * _MICROSECOND
        name = [tagged["name"]] if "name" in tagged else []
        value = value.replace(tzinfo=timezone(offset or _ZERO, *name))
    return value.replace(fold=tagged.get("fold", 0))


def _zone(key: str) -> ZoneInfo | UnknownZone:
    try:
        return ZoneInfo(key)
    except (KeyError, ValueError, OSError):
        return UnknownZone(key)


def _elements(value: set[Any] | frozenset[Any]) -> list[Any]:
    # Sets have no order of their own; the same set is always written the same way.
    return [to_tagged(each) for each in sorted(value, key=canonical)]


_WRITERS: dict[type, Callable[[Any], Any]] = {
    bytes: lambda value: {"$bytes": base64.b64encode(value).decode()},
    datetime: _write_datetime,
    date: lambda value: {"$date": value.isoformat()},
    UUID: lambda value: {"$uuid": str(value)},
    Decimal: lambda value: {"$decimal": str(value)},
    tuple: lambda value: {"$tuple": [to_tagged(each) for each in value]},
    set: lambda value: {"$set": _elements(value)},
    frozenset: lambda value: {"$frozenset": _elements(value)},
}

_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "$int": lambda tagged: int(tagged["$int"]),
    "$float": lambda tagged: _read_float(tagged["$float"]),
    "$bytes": lambda tagged: base64.b64decode(tagged["$bytes"]),
    "$datetime": _read_datetime,
    "$date": lambda tagged: date.fromisoformat(tagged["$date"]),
    "$uuid": lambda tagged: UUID(tagged["$uuid"]),
    "$decimal": lambda tagged: Decimal(tagged["$decimal"]),
    "$tuple": lambda tagged: tuple(from_tagged(tagged["$tuple"])),
    "$set": lambda tagged: set(from_tagged(tagged["$set"])),
    "$frozenset": lambda tagged: frozenset(from_tagged(tagged["$frozenset"])),
}
