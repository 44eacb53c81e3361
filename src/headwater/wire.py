"""Avro single-object encoding of every record that Headwater writes.

A value is ``C3 01``, the CRC-64-AVRO fingerprint of its writer's schema (8 bytes, little-endian),
and the Avro body. The fingerprint finds the writer's schema among those shipped in ``schemas/``:
the current ones and, under ``schemas/history/``, the older ones, whose records are resolved to
the current schema. Source: Apache Avro specification, "Single-object encoding".
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, cast

import fastavro
import fastavro.schema

from headwater.errors import SchemaTooNew, UndecodableRecord

MARKER = b"\xc3\x01"
HEADER_BYTES = 10

Record = dict[str, Any]
Schema = Any


def schemas_root() -> Traversable | Path:
    """Folder of the ``.avsc`` files: inside the installed package, or in a checkout."""
    packaged = files("headwater") / "schemas"
    if packaged.is_dir():
        return packaged
    return Path(__file__).resolve().parents[2] / "schemas"


def _parse(source: Traversable | Path) -> Schema:
    return fastavro.parse_schema(json.loads(source.read_text(encoding="utf-8")))


def fingerprint(schema: Schema) -> bytes:
    """CRC-64-AVRO of the schema's parsing canonical form, 8 bytes, little-endian."""
    text = fastavro.schema.to_parsing_canonical_form(schema)
    return bytes.fromhex(fastavro.schema.fingerprint(text, "CRC-64-AVRO"))


class Codec:
    """Encodes and decodes one record type.

    ``older`` are schemas that earlier releases wrote with; their records are resolved to
    ``schema`` by Avro's rules.
    """

    __slots__ = ("_older", "fingerprint", "header", "name", "schema")

    def __init__(self, schema: Schema, older: Iterable[Schema] = ()) -> None:
        self.schema = schema
        self.name: str = schema["name"].rpartition(".")[2]
        self.fingerprint = fingerprint(schema)
        self.header = MARKER + self.fingerprint
        self._older = {fingerprint(writer): writer for writer in older}

    def body(self, record: Mapping[str, Any]) -> bytes:
        """The Avro body alone, which is what chain hashes cover."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self.schema, record)
        return out.getvalue()

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """Header and body."""
        return self.header + self.body(record)

    def decode(self, value: bytes) -> Record:
        """The record in the current schema.

        Raises :class:`UndecodableRecord` for bytes that are no record of this type, and
        :class:`SchemaTooNew` where they claim a schema that this release does not know.
        """
        if value[:2] != MARKER or len(value) < HEADER_BYTES:
            raise UndecodableRecord(
                f"{len(value)} bytes without Avro's single-object marker are no {self.name} record"
            )
        writer_id = value[2:HEADER_BYTES]
        if writer_id == self.fingerprint:
            return self._read(value, self.schema, None)
        writer = self._older.get(writer_id)
        if writer is None:
            raise SchemaTooNew(
                f"{self.name} record of schema {writer_id.hex()}, which this release does not "
                f"know (it writes {self.fingerprint.hex()}); upgrade headwater to read it"
            )
        return self._read(value, writer, self.schema)

    def _read(self, value: bytes, writer: Schema, reader: Schema) -> Record:
        body = io.BytesIO(value)
        body.seek(HEADER_BYTES)
        try:
            record = cast(Record, fastavro.schemaless_reader(body, writer, reader))
        except Exception as error:  # fastavro raises whatever its parser trips over
            raise UndecodableRecord(f"broken {self.name} record: {error!r}") from error
        if body.tell() != len(value):
            raise UndecodableRecord(
                f"broken {self.name} record: {len(value) - body.tell()} bytes too many"
            )
        return record


@cache
def codec(name: str) -> Codec:
    """The codec of the record type ``name``, as shipped: ``codec("StateChange")``."""
    root = schemas_root()
    history = root / "history"
    older = []
    if history.is_dir():
        older = [_parse(p) for p in history.iterdir() if p.name.startswith(f"{name}.")]
    return Codec(_parse(root / f"{name}.avsc"), older)
