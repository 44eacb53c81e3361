"""Packing and unpacking of values: limits, refusals, and the odd types."""

from __future__ import annotations

import decimal
import enum
import sys
from collections import OrderedDict, namedtuple
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from headwater.errors import UndecodableRecord, UnsupportedValue
from headwater.state import special
from headwater.state.values import (
    MAX_DEPTH,
    canonical,
    copy_and_pack,
    copy_value,
    heaviest,
    pack,
    same,
    unpack,
)

Point = namedtuple("Point", "x y")


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


class Zone(special.UnknownZone):
    pass


def _nested(depth: int, wrap: Any = lambda inner: [inner]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        Text("x"),
        Point(1, 2),
        OrderedDict(a=1),
        bytearray(b"x"),
        memoryview(b"x"),
        complex(1),
        object(),
        datetime.now(tz=UTC).time(),
        datetime(2026, 1, 1, tzinfo=Zone("x")),
        "\ud800",
        {"\udfff": 1},
        {1: 2},
        {Text("x"): 1},
        {None: 1},
        msgspec.Raw(b"\x01"),
        msgspec.msgpack.Ext(1, b""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_unsupported_types_are_refused_everywhere(value: Any) -> None:
    """Subclasses and strangers are refused alone and nested, by every function, with the path."""
    for function in (pack, canonical, copy_value, copy_and_pack):
        with pytest.raises(UnsupportedValue) as caught:
            function(value)
        assert caught.value.path in ((), ("\udfff",))
    with pytest.raises(UnsupportedValue, match=r"data\.k\[1\]\[0\]"):
        pack({"k": [2**70, (value,)]}, ("data",))
    assert issubclass(UnsupportedValue, TypeError)


def test_unsupported_elements_of_sets_name_the_set() -> None:
    """Elements have no path of their own, so the error names their set."""
    with pytest.raises(UnsupportedValue) as caught:
        pack({"tags": [{Colour.RED}]}, ("data",))
    assert caught.value.path == ("data", "tags", 0)


WRAPS: dict[str, Any] = {
    "list": lambda inner: [inner],
    "tuple": lambda inner: (inner,),
    "map": lambda inner: {"k": inner},
    "frozenset": lambda inner: frozenset([inner]),
}


@pytest.mark.parametrize("name", WRAPS)
def test_depth_limit_is_the_same_for_packing_and_unpacking(name: str) -> None:
    """What may be packed can be unpacked, and one level more is refused by both."""
    deepest = _nested(MAX_DEPTH, WRAPS[name])
    assert unpack(pack(deepest)) == deepest
    too_deep = WRAPS[name](deepest)
    with pytest.raises(UnsupportedValue, match="deeper"):
        pack(too_deep)
    with pytest.raises(UnsupportedValue, match="deeper"):
        pack(deepest, ("data",))
    packed = b"\x91" * (MAX_DEPTH + 1) + b"\x01"
    if name in ("tuple", "frozenset"):
        code = special.TUPLE if name == "tuple" else special.FROZENSET
        packed = b"\x01"
        for _ in range(MAX_DEPTH + 1):
            packed = msgspec.msgpack.encode(msgspec.msgpack.Ext(code, b"\x91" + packed))
    elif name == "map":
        packed = b"\x81\xa1k" * (MAX_DEPTH + 1) + b"\x01"
    with pytest.raises(UndecodableRecord):
        unpack(packed)


def test_flat_maps_obey_the_depth_limit() -> None:
    """The fast path for flat values knows how deep they are to stand."""
    path = ("data", *["k"] * (MAX_DEPTH - 1))
    for value in ({"a": 1}, ["a"], ()):
        pack(value, path[:-1])
        for function in (pack, copy_value, copy_and_pack):
            with pytest.raises(UnsupportedValue, match="deeper"):
                function(value, path)


def test_cycles_are_refused() -> None:
    """A container that is a part of itself is an error, not a crash, however wide."""
    cycle: list[Any] = []
    cycle.extend([cycle, cycle])
    with pytest.raises(UnsupportedValue, match="part of itself"):
        pack({"k": cycle})


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1k", b"\xc7\xff\x02\x91"])
def test_bottomless_bytes_are_refused(opening: bytes) -> None:
    """A million levels of nesting are an error, not a crash."""
    with pytest.raises(UndecodableRecord):
        unpack(opening * 1_000_000)


EXT = msgspec.msgpack.Ext


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x01\x01",
        b"\x81\x01\x02",
        b"\x91\x81\xc0\x02",
        b"\xa1\xff",
        b"\xdd\xff\xff\xff\xff",
        *(
            msgspec.msgpack.encode(EXT(code, payload))
            for code, payload in [
                (0, b""),
                (9, b""),
                (-2, b"x"),
                (special.TUPLE, b"\x01"),
                (special.TUPLE, b""),
                (special.SET, b"\x92\x01\x01"),
                (special.SET, b"\x92\x01\xc3"),
                (special.SET, b"\x91\x90"),
                (special.DATE, b"2026-13-01"),
                (special.DATE, b"\xff"),
                (special.UUID_, b"short"),
                (special.DECIMAL, b"nonsense"),
                (special.DECIMAL, b""),
                (special.DATETIME, b"\x90"),
                (special.DATETIME, pack(["2026-01-01T00:00:00+01:00", 0, None])),
                (special.DATETIME, pack(["2026-01-01T00:00:00", 2, None])),
                (special.DATETIME, pack(["2026-01-01T00:00:00", 0, 86_400_000_000])),
                (special.DATETIME, pack(["2026-01-01T00:00:00", 0, {}])),
                (special.DATETIME, pack(["2026-01-01T00:00:00", 0, [1, 2]])),
            ]
        ),
    ],
)
def test_rubbish_is_undecodable(data: bytes) -> None:
    """Malformed bytes raise `UndecodableRecord`, whatever is wrong with them."""
    with pytest.raises(UndecodableRecord):
        unpack(data)


def test_decimals_do_not_depend_on_the_context() -> None:
    """The thread's decimal context changes neither bytes nor what is refused."""
    expected = pack(Decimal("1E+5"))
    with decimal.localcontext() as context:
        context.capitals, context.prec = 0, 2
        context.traps[decimal.InvalidOperation] = False
        assert pack(Decimal("1E+5")) == expected
        assert repr(unpack(pack(Decimal("1.23456")))) == "Decimal('1.23456')"
        with pytest.raises(UndecodableRecord):
            unpack(msgspec.msgpack.encode(EXT(special.DECIMAL, b"nonsense")))


def test_integers_of_any_size() -> None:
    """Python's limit on printing large integers is no limit here."""
    large = -(7**20_000)
    assert large.bit_length() // 3.33 > sys.get_int_max_str_digits()
    assert unpack(pack([large])) == [large]
    with pytest.raises(UnsupportedValue):
        pack({large: 1})


def test_unknown_zones_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zone that the machine's database lacks keeps its key, and the bytes stay the same."""
    when = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    packed = pack({when})

    def missing(key: str) -> ZoneInfo:
        raise KeyError(key)

    with monkeypatch.context() as patched:
        patched.setattr(special, "ZoneInfo", missing)
        elsewhere = unpack(packed)
    (stranger,) = elsewhere
    assert stranger.tzname() == "Europe/Berlin"
    assert stranger.utcoffset() is None
    assert pack(elsewhere) == packed
    assert copy_value(elsewhere) == {when}


def test_zone_files_are_not_looked_up_outside_the_database() -> None:
    """A key that is no zone's name reads no file and stays what it is."""
    packed = pack(datetime(2026, 1, 1, tzinfo=special.UnknownZone("../../etc/passwd")))
    assert unpack(packed).tzinfo == special.UnknownZone("../../etc/passwd")


def test_timestamps_of_other_writers_are_read() -> None:
    """MessagePack's own timestamp, which Headwater never writes, comes as a datetime in UTC."""
    assert unpack(b"\xd6\xff\0\0\0\0") == datetime(1970, 1, 1, tzinfo=UTC)


def test_named_offsets_keep_their_names() -> None:
    """A fixed offset keeps its name, and UTC stays the one UTC object."""
    plain = unpack(pack(datetime(2026, 1, 1, tzinfo=UTC)))
    assert plain.tzinfo is UTC


def test_copies_share_nothing_mutable() -> None:
    """Changing the original, at any depth, leaves the copy alone."""
    inner: Any = {"list": [1], "tuple": ([2],)}
    for value in ([inner], {"k": inner}, (inner,)):
        copied = copy_value(value)
        before = pack(copied)
        inner["list"].append(3)
        inner["tuple"][0].append(4)
        assert pack(copied) == before


def test_same_is_strict() -> None:
    """Equality that Python sees between types is none here."""
    assert not same({"k": 1}, {"k": True})
    assert not same(1.0, 1)
    assert same([float("nan")], [float("nan")])
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})


def test_heaviest_part() -> None:
    """The path goes down to the part that makes up most of the value."""
    value = {"data": {"small": 1, "big": ["x", "y" * 5000]}, "messages": ["x" * 100]}
    assert heaviest(value) == ("data", "big", 1)
    assert heaviest({"a": ["x" * 10] * 50, "b": ["x" * 10] * 50}) == ()
