"""What is different between two states, place by place."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings

from headwater.state.compare import Place, compare
from headwater.state.model import Document, new_document, state_hash
from headwater.state.values import same
from tests.property.strategies import documents


def document(**fields: Any) -> Document:
    """A document with some fields of its own."""
    return {**new_document(), "session_id": "s-1", **fields}


def test_each_place_is_named_once_with_both_values() -> None:
    """Changed, added and removed, down to keys and positions; what is equal is left out."""
    old = document(status="new", data={"a": 1, "b": [1, 2], "same": {}}, messages=["one"])
    new = document(
        status="done", data={"b": [1, 3], "c": None, "same": {}}, messages=["one", "two"]
    )
    found = compare(old, new, before=3, after=4)
    assert {place.name: (place.kind, place.old, place.new) for place in found.places} == {
        "status": ("changed", "new", "done"),
        "data.a": ("removed", 1, None),
        "data.b[1]": ("changed", 2, 3),
        "data.c": ("added", None, None),
        "messages[1]": ("added", None, "two"),
    }
    assert found.new_messages == ("two",)
    assert (found.before, found.after, bool(found)) == (3, 4, True)
    assert "status" in found.description


def test_what_moved_in_a_list_is_told_by_its_positions() -> None:
    """What was removed by the place that it had, what was added by the place that it has."""
    old = document(messages=["a", "b", "c", "d"])
    new = document(messages=["x", "a", "c", "d", "y"])
    assert [(p.kind, p.name, p.old or p.new) for p in compare(old, new).places] == [
        ("added", "messages[0]", "x"),
        ("removed", "messages[1]", "b"),
        ("added", "messages[4]", "y"),
    ]


def test_text_that_grew_says_by_what() -> None:
    """A long text is not repeated for a few letters more."""
    text = "x" * 100
    (place,) = compare(document(data={"t": text}), document(data={"t": text + "!"})).places
    assert place == Place(path=("data", "t"), kind="changed", old=text, new=text + "!", grown="!")


@given(documents, documents)
@settings(max_examples=50)
def test_any_two_states_can_be_compared(old: Document, new: Document) -> None:
    """Something is different exactly if their hashes are, and each place has what is said of it."""
    found = compare(old, new)
    assert bool(found) == (state_hash("a", old) != state_hash("a", new))
    for place in found.places:
        if place.kind != "added":
            assert same(_at(old, place), place.old)
        in_list = any(type(step) is int for step in place.path[:-1])
        if place.kind == "added" or (place.kind == "changed" and type(place.path[-1]) is str):
            assert in_list or same(_at(new, place), place.new)


def _at(value: Any, place: Place) -> Any:
    for step in place.path:
        value = value[step]
    return value
