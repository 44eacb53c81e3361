"""The tagged JSON form of state values: lossless for everything that a state can hold."""

from __future__ import annotations

import json
import math
import struct
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given

from headwater.cli.tagged import from_tagged, to_tagged
from headwater.errors import UndecodableRecord
from headwater.state.special import UnknownZone
from headwater.state.values import same
from tests.property.strategies import values

ODD_NAN = struct.unpack(">d", bytes.fromhex("7ff8000000000001"))[0]
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC).replace(tzinfo=None)
CET = timezone(timedelta(hours=1), "CET")

FORMS: list[tuple[Any, Any]] = [
    (None, None),
    (2**53 - 1, 2**53 - 1),
    (2**53, {"$int": "9007199254740992"}),
    (1.0, 1.0),
    (-0.0, -0.0),
    (math.nan, {"$float": "NaN"}),
    (ODD_NAN, {"$float": "NaN:7ff8000000000001"}),
    (-math.inf, {"$float": "-Infinity"}),
    (b"hi", {"$bytes": "aGk="}),
    (NOON, {"$datetime": "2026-01-02T12:00:00"}),
    (NOON.replace(tzinfo=UTC), {"$datetime": "2026-01-02T12:00:00+00:00"}),
    (NOON.replace(tzinfo=CET), {"$datetime": "2026-01-02T12:00:00+01:00", "name": "CET"}),
    (
        NOON.replace(tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        {"$datetime": "2026-01-02T12:00:00", "zone": "Europe/Berlin", "fold": 1},
    ),
    (
        NOON.replace(tzinfo=UnknownZone("Mars/Base")),
        {"$datetime": "2026-01-02T12:00:00", "zone": "Mars/Base"},
    ),
    (date(2026, 1, 2), {"$date": "2026-01-02"}),
    (UUID(int=1), {"$uuid": "00000000-0000-0000-0000-000000000001"}),
    (Decimal("1.10"), {"$decimal": "1.10"}),
    ((1, (2,)), {"$tuple": [1, {"$tuple": [2]}]}),
    ({2, 1}, {"$set": [1, 2]}),
    (frozenset({"a"}), {"$frozenset": ["a"]}),
    ({"$set": [1]}, {"$$set": [1]}),
    ({"$$x": {"y": b""}}, {"$$$x": {"y": {"$bytes": ""}}}),
]


@pytest.mark.parametrize(("value", "tagged"), FORMS, ids=repr)
def test_each_type_has_its_documented_form(value: Any, tagged: Any) -> None:
    """Every type is written as documented, and read back as the same value of the same type."""
    written = to_tagged(value)
    assert json.dumps(written) == json.dumps(tagged)
    assert same(from_tagged(json.loads(json.dumps(written))), value)


@given(values)
def test_any_value_survives(value: Any) -> None:
    """Whatever a state can hold comes back from JSON the same, types and bits included."""
    assert same(from_tagged(json.loads(json.dumps(to_tagged(value), allow_nan=False))), value)


def test_an_unknown_tag_is_refused() -> None:
    """A tag that this release does not know is an error, not a map."""
    with pytest.raises(UndecodableRecord, match="quaternion"):
        from_tagged({"$quaternion": [1, 2, 3, 4]})
