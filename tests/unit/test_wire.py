"""Schemas: documented, readable across versions, refused where nobody can read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fastavro
import fastavro.utils
import pytest

from headwater.errors import SchemaTooNew, UndecodableRecord
from headwater.wire import Codec, codec, fingerprint, schemas_root

OLD = Path(__file__).parent / "old_schemas"
NAMES = sorted(p.name.removesuffix(".avsc") for p in schemas_root().iterdir() if p.is_file())


def named_fields(schema: Any) -> list[dict[str, Any]]:
    """All fields of a schema, nested records' included."""
    if isinstance(schema, list):
        return [f for branch in schema for f in named_fields(branch)]
    if not isinstance(schema, dict):
        return []
    if schema["type"] == "array":
        return named_fields(schema["items"])
    found: list[dict[str, Any]] = schema.get("fields", [])
    return found + [f for field in found for f in named_fields(field["type"])]


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_documented(name: str) -> None:
    """File name = record name; the record and each of its fields say what they are."""
    schema = json.loads((schemas_root() / f"{name}.avsc").read_text())
    assert schema["name"] == name and schema["doc"]
    undocumented = [f["name"] for f in named_fields(schema) if not f.get("doc")]
    assert not undocumented


@pytest.mark.parametrize("name", NAMES)
def test_older_writers_stay_readable(name: str) -> None:
    """A record of an earlier schema is resolved to the current one."""
    older = fastavro.parse_schema(json.loads((OLD / f"{name}.avsc").read_text()))
    current = codec(name)
    reader = Codec(current.schema, [older])
    writer = Codec(older)
    assert writer.fingerprint != current.fingerprint
    written = fastavro.utils.generate_one(older)
    read = reader.decode(writer.encode(written))
    again = writer.decode(writer.encode(written))
    assert {k: read[k] for k in again} == again
    assert set(read) == {f["name"] for f in current.schema["fields"]}
    with pytest.raises(SchemaTooNew, match="upgrade"):
        current.decode(writer.encode(written))


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str) -> None:
    """Whatever the schema allows comes back, and nothing may follow it."""
    for record in fastavro.utils.generate_many(codec(name).schema, 20):
        value = codec(name).encode(record)
        assert value[:2] == b"\xc3\x01"
        assert codec(name).decode(value) == codec(name).decode(value)
        with pytest.raises(UndecodableRecord):
            codec(name).decode(value + b"\0")


def test_fingerprints_are_avros() -> None:
    """CRC-64-AVRO, little-endian: the specification's own example."""
    assert fingerprint(fastavro.parse_schema("int")).hex() == "8f5c393f1ad57572"
