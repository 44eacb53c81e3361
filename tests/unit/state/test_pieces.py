"""Whole documents as patches of a bounded size."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import TooLarge
from headwater.state.model import new_document
from headwater.state.patch import apply_patch, decode_patch
from headwater.state.pieces import in_pieces
from headwater.state.values import same
from tests.property.strategies import documents


def put_together(patches: list[bytes]) -> dict[str, Any]:
    """What they make of the empty document."""
    document = new_document()
    for patch in patches:
        apply_patch(document, decode_patch(patch))
    return document


@given(documents, st.sampled_from([2000, 5000, 900_000]))
def test_any_document_comes_back_from_its_pieces(document: dict[str, Any], limit: int) -> None:
    """Each within the limit, unless a value that is one cannot be."""
    try:
        patches = in_pieces(document, limit)
    except TooLarge:
        return
    assert max(map(len, patches)) <= limit
    assert same(put_together(patches), document)


def test_large_containers_and_texts_are_taken_apart() -> None:
    """Down to where each piece fits, however deep; the status is the last thing to be set."""
    document = new_document() | {
        "session_id": "s",
        "status": "busy",
        "data": {"text": "é" * 9000, "list": [["x" * 900] * 9, {"k": list(range(5000))}, "end"]},
        "messages": [{"content": "y" * 5000, "n": n} for n in range(5)],
    }
    patches = in_pieces(document, 2000)
    assert len(patches) > 30
    assert max(map(len, patches)) <= 2000
    assert same(put_together(patches), document)
    assert put_together(patches[:-1])["status"] == "new"


def test_one_value_over_the_limit_is_named() -> None:
    """Bytes, a tuple or a set stand in one change or in none."""
    document = new_document()
    document["data"] = {"deep": [b"x" * 3000]}
    with pytest.raises(TooLarge, match=r"data\.deep\[0\]"):
        in_pieces(document, 2000)
