"""What the golden vectors are made of; ``python -m tests.unit.state.golden`` prints them anew.

They pin the encoding for good: a difference means that hashes of states already written no longer
hold, so the version in the hash's tag has to change with it.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from headwater.state.model import Document, new_document, state_hash
from headwater.state.patch import (
    APPEND,
    REMOVE,
    SET,
    SPLICE,
    TEXT,
    Op,
    apply_patch,
    decode_patch,
    encode_patch,
)
from headwater.state.values import canonical

NIGHT = datetime.fromisoformat("2026-10-25T02:30:00.000005")

VALUES: dict[str, Any] = {
    "none": None,
    "booleans": [True, False],
    "integers": [0, 1, -1, 127, 128, -32, -33, 255, 256, 65535, 65536, 2**32, -(2**31)],
    "large integers": [
        2**63 - 1,
        2**63,
        -(2**63),
        2**64 - 1,
        2**64,
        -(2**63) - 1,
        2**127,
        -(2**128),
    ],
    "floats": [1.0, 0.0, -0.0, float("nan"), float("inf"), float("-inf"), 5e-324],
    "text": ["", "é", "\U0001f30a", "x" * 40, "x" * 300],
    "bytes": [b"", b"\x00\xff", b"x" * 300],
    "tuple": (1, (), ([2], {"b": 1, "a": (3,)})),
    "sets": [set(), {3, 1, 2}, {"b", "a", (1, 2)}, frozenset({1.0, "1", frozenset({True})})],
    "map": {"b": 1, "aa": 2, "a": 3, "é": 4, "\uffff": 5, "\U00010000": 6, "": 7},
    "datetimes": [
        NIGHT,
        NIGHT.replace(fold=1),
        NIGHT.replace(tzinfo=UTC),
        NIGHT.replace(tzinfo=timezone(timedelta(hours=5, minutes=45))),
        NIGHT.replace(tzinfo=timezone(-timedelta(microseconds=1), "odd")),
        NIGHT.replace(tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        datetime.fromisoformat("0001-01-01"),
    ],
    "dates": [date(2026, 1, 2), date.min],
    "uuid": UUID("12345678-1234-5678-1234-567812345678"),
    "decimals": [
        Decimal(text) for text in ("0", "-0", "1.10", "1E+5", "NaN", "sNaN7", "-Infinity")
    ],
}

PATCHES: dict[str, list[Op]] = {
    "set a field": [(SET, ["status"], "searching")],
    "set, replace and remove keys": [
        (SET, ["data", "plan"], ["search", "read"]),
        (SET, ["data", "tags"], {"b", "a"}),
        (SET, ["data", "plan", 1], (1, 2.0)),
        (REMOVE, ["data", "tags"]),
    ],
    "append": [(APPEND, ["messages"], {"role": "user", "content": "hi"})],
    "splice": [
        (SPLICE, ["messages"], 0, 0, [1, 2, 3, 4]),
        (SPLICE, ["messages"], 1, 2, ["x"]),
        (REMOVE, ["messages", 0]),
    ],
    "text": [(SET, ["data", "text"], "one"), (TEXT, ["data", "text"], ", two")],
}


def state_of(value: Any) -> Document:
    """A document that holds a value where any value may stand, and in a map."""
    document = new_document()
    document.update(session_id="s-1", task=value, data={"value": value})
    return document


def vectors() -> dict[str, Any]:
    """The vectors as they are to stand in ``golden_values.json``."""
    values = {
        name: {
            "canonical": canonical(value).hex(),
            "state_hash": state_hash("agent-1", state_of(value)).hex(),
        }
        for name, value in VALUES.items()
    }
    patches = {}
    for name, ops in PATCHES.items():
        document = new_document()
        packed = encode_patch(ops)
        apply_patch(document, decode_patch(packed))
        patches[name] = {"patch": packed.hex(), "state_hash": state_hash("agent-1", document).hex()}
    empty = state_hash("agent-1", new_document()).hex()
    return {"new": {"state_hash": empty}, "values": values, "patches": patches}


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=2))
