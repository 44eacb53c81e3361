"""The encodings are what they were when the first state was written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from headwater.state.model import new_document
from headwater.state.patch import decode_patch
from headwater.state.values import canonical, unpack
from tests.unit.state import golden, reference

GOLDEN = json.loads(Path(__file__).with_name("golden_values.json").read_text())


def test_vectors_are_unchanged() -> None:
    """Canonical bytes, patches and state hashes equal the recorded ones."""
    assert golden.vectors() == GOLDEN


@pytest.mark.parametrize("name", golden.VALUES)
def test_values_follow_the_documented_encoding(name: str) -> None:
    """A second encoder, written from the tables alone, gives the same bytes."""
    assert canonical(golden.VALUES[name]) == reference.encode(golden.VALUES[name])


@pytest.mark.parametrize("name", golden.VALUES)
def test_recorded_values_decode(name: str) -> None:
    """The recorded bytes decode to the value that they were made from."""
    data = bytes.fromhex(GOLDEN["values"][name]["canonical"])
    assert repr(unpack(data)) == repr(reordered(golden.VALUES[name]))


def test_hash_is_over_tag_agent_and_document() -> None:
    """The state's hash is SHA-256 over the tag and the encoding of the pair."""
    pair = reference.encode(["agent-1", new_document()])
    expected = hashlib.sha256(b"headwater.state.v1\0" + pair).hexdigest()
    assert GOLDEN["new"]["state_hash"] == expected


@pytest.mark.parametrize("name", golden.PATCHES)
def test_recorded_patches_decode(name: str) -> None:
    """The recorded patches decode to their operations."""
    assert decode_patch(bytes.fromhex(GOLDEN["patches"][name]["patch"])) == golden.PATCHES[name]


def reordered(value: Any) -> Any:
    """The value with maps and sets in canonical order, for comparing representations."""
    if type(value) is dict:
        return {key: reordered(value[key]) for key in sorted(value, key=str.encode)}
    if type(value) in (set, frozenset):
        return type(value)(sorted(value, key=reference.encode))
    return type(value)(map(reordered, value)) if type(value) in (list, tuple) else value
