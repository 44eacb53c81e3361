"""Records of the fleet: each class is its schema, and whatever it holds comes back."""

from __future__ import annotations

from typing import Any

import fastavro.utils
import msgspec
import pytest

from headwater.fleet import records
from headwater.wire import codec

CLASSES = [
    *(records.Heartbeat, records.FailureEvent, records.RecoveryResult, records.Command),
    *(records.CommandReply, records.Route, records.AuditRecord, records.Escalation),
    records.Metric,
]
JSON = ("context", "detail", "arguments")


def with_json(record: dict[str, Any]) -> dict[str, Any]:
    """Random text in the fields that hold JSON becomes JSON."""
    for name, value in record.items():
        if name in JSON:
            record[name] = msgspec.json.encode({"text": value}).decode()
        elif name == "tried":
            record[name] = msgspec.json.encode([{"text": value}]).decode()
        elif name in ("steps", "results") and isinstance(value, list):
            record[name] = [with_json(each) for each in value]
    return record


@pytest.mark.parametrize("cls", CLASSES)
def test_round_trip(cls: Any) -> None:
    """Whatever a schema allows, its class reads and writes again, byte by byte."""
    known = codec(cls.__name__)
    for record in fastavro.utils.generate_many(known.schema, 20):
        value = known.encode(with_json(dict(record)))
        assert cls.decode(value).encode() == value


@pytest.mark.parametrize("cls", CLASSES)
def test_a_class_has_the_fields_of_its_schema(cls: Any) -> None:
    """None is missing, and the defaults can be encoded."""
    assert list(cls.__struct_fields__) == [f["name"] for f in codec(cls.__name__).schema["fields"]]
