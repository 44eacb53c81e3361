"""The laws of the state core."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headwater.errors import UndecodableRecord, UnsupportedValue
from headwater.state.describe import describe
from headwater.state.diff import diff
from headwater.state.draft import Recorder
from headwater.state.model import AgentState, Document, new_document, state_hash
from headwater.state.patch import PatchError, apply_patch, decode_patch, encode_patch
from headwater.state.values import (
    canonical,
    copy_and_pack,
    copy_value,
    decode,
    pack,
    same,
    unpack,
)
from tests.property import strategies as own
from tests.property.programs import STEPS, Plain, at, containers, run, shape


@own.patient
@given(own.values)
def test_round_trip(value: Any) -> None:
    """What is packed comes back, every type and bit of it."""
    assert shape(unpack(pack(value))) == shape(value)
    assert shape(unpack(canonical(value))) == shape(value)
    assert pack(unpack(pack(value))) == pack(value)


@own.patient
@given(own.values)
def test_copies_are_equal_and_packed_alike(value: Any) -> None:
    """A copy has the same values and types, and `copy_and_pack` packs as `pack` does."""
    assert shape(copy_value(value)) == shape(value)
    copied, packed = copy_and_pack(value)
    assert shape(copied) == shape(value)
    assert packed == pack(value)


@own.patient
@given(own.values, own.values)
@example(1, 1.0)
@example(1, True)
@example(0.0, -0.0)
@example((1,), [1])
@example({1}, frozenset({1}))
@example("a", b"a")
def test_canonical_tells_values_apart(one: Any, other: Any) -> None:
    """Canonical bytes are equal exactly where values and types are."""
    assert (canonical(one) == canonical(other)) == (shape(one) == shape(other))
    assert same(one, other) == (shape(one) == shape(other))


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same value with maps and sets filled in another order."""
    kind = type(value)
    if kind is dict:
        items = [(key, shuffled(item, rng)) for key, item in value.items()]
        rng.shuffle(items)
        return dict(items)
    if kind in (set, frozenset):
        elements = list(value)
        rng.shuffle(elements)
        return kind(elements)
    return kind(shuffled(item, rng) for item in value) if kind in (list, tuple) else value


@own.patient
@given(own.documents, st.randoms(use_true_random=False))
def test_hash_ignores_order(document: Document, rng: random.Random) -> None:
    """Canonical bytes and the state's hash do not depend on the order of keys and elements."""
    other = shuffled(document, rng)
    assert canonical(other) == canonical(document)
    assert state_hash("a", other) == state_hash("a", document)
    assert state_hash("b", other) != state_hash("a", document)


@own.patient
@given(own.documents)
def test_agent_state_round_trip(document: Document) -> None:
    """A state made from a document gives the same document back, and shares nothing with it."""
    state = AgentState.from_document("a", document)
    assert shape(state.to_document()) == shape(document)
    assert state == AgentState.from_document("a", document)
    state.data["only here"] = 1
    assert "only here" not in document["data"]


UNSUPPORTED: list[Any] = [object(), bytearray(b"x"), complex(1), range(3), "\ud800", int]


@own.patient
@given(st.lists(st.one_of(st.sampled_from(["k", "l"]), st.just(0)), max_size=6), st.data())
def test_unsupported_values_are_named(path: list[str | int], data: st.DataObject) -> None:
    """Wherever an unsupported value hides, the error says where."""
    value = data.draw(st.sampled_from(UNSUPPORTED))
    for item in reversed(path):
        other = data.draw(own.values)
        tupled = data.draw(st.booleans())
        if item == 0:
            value = (value, other) if tupled else [value, other]
        else:
            value = {"other": other, item: value}
    with pytest.raises(UnsupportedValue) as caught:
        pack(value, ("data",))
    assert caught.value.path == ("data", *path)


@own.patient
@given(st.binary(max_size=40))
def test_rubbish_never_unpacks_to_something_unpackable(data: bytes) -> None:
    """Any bytes either give a value that can be packed, or `UndecodableRecord`."""
    try:
        value = unpack(data)
    except UndecodableRecord:
        return
    assert shape(unpack(pack(value))) == shape(value)


@own.patient
@given(own.documents, own.documents)
def test_apply_diff(base: Document, current: Document) -> None:
    """Applying the difference gives the current state, types included."""
    before = shape(base), shape(current)
    patch = encode_patch(diff(base, current))
    assert (shape(base), shape(current)) == before
    result = copy_value(base)
    apply_patch(result, decode_patch(patch))
    assert shape(result) == shape(current)
    assert diff(current, result) == []


@own.patient
@given(own.documents, st.lists(own.ops, max_size=6))
def test_apply_diff_of_related_documents(base: Document, ops: list[Any]) -> None:
    """The same where the current state grew out of the base."""
    current = copy_value(base)
    for op in ops:
        _apply_if_possible(current, [op])
    result = copy_value(base)
    apply_patch(result, decode_patch(encode_patch(diff(base, current))))
    assert shape(result) == shape(current)


@own.patient
@given(st.lists(st.integers(0, 9), max_size=30), st.lists(st.integers(0, 9), max_size=30))
def test_apply_diff_of_lists(old: list[int], new: list[int]) -> None:
    """The same for lists with many equal elements, which are hard to align."""
    base, current = new_document(), new_document()
    base["messages"], current["messages"] = old, new
    apply_patch(base, diff(base, current))
    assert base["messages"] == new


def _apply_if_possible(document: Document, ops: Any) -> bool:
    try:
        apply_patch(document, ops)
    except PatchError:
        return False
    return True


@own.patient
@given(own.documents, st.lists(own.ops | own.rubbish, max_size=5))
def test_application_is_total_atomic_and_deterministic(document: Document, ops: list[Any]) -> None:
    """Anything decodable applies fully or not at all, everywhere alike, and can be described."""
    decoded = decode_patch(pack(list(map(_listed, ops))))
    before = shape(document)
    one, other = copy_value(document), copy_value(document)
    outcome = _apply_if_possible(one, decoded)
    assert _apply_if_possible(other, decoded) == outcome
    assert shape(one) == shape(other)
    if not outcome:
        assert shape(one) == before
    canonical(one)
    assert describe(decoded).change_count == len(ops)


def _listed(op: Any) -> Any:
    return list(op) if type(op) is tuple else op


@own.patient
@given(own.documents, own.rubbish)
def test_bad_patches_change_nothing(document: Document, bad: Any) -> None:
    """What is not a list of operations at all is refused too."""
    before = shape(document)
    with pytest.raises((PatchError, UndecodableRecord)):
        apply_patch(document, decode_patch(pack({"not": bad})))
    assert shape(document) == before


@own.patient
@given(st.binary(max_size=60))
def test_decoded_bytes_apply_or_not(data: bytes) -> None:
    """Even values that only the patch decoder lets through are stopped at application."""
    try:
        ops = [(0, ["task"], decode(data)), (2, ["messages"], decode(data))]
    except UndecodableRecord:
        return
    document = new_document()
    if _apply_if_possible(document, ops):
        assert shape(unpack(pack(document))) == shape(document)
    else:
        assert document == new_document()


@own.patient
@given(own.documents, st.lists(own.ops, max_size=4))
def test_applying_twice_shares_nothing(document: Document, ops: list[Any]) -> None:
    """Two documents that take the same decoded operations do not share what they put in."""
    decoded = decode_patch(encode_patch(ops))
    one, other = copy_value(document), copy_value(document)
    for op in decoded:
        _apply_if_possible(one, [op])
    before = shape(one)
    for op in decoded:
        _apply_if_possible(other, [op])
    scramble(other)
    assert shape(one) == before


def scramble(node: Any) -> None:
    """Empty every container that can be emptied."""
    items = list(node.values()) if type(node) is dict else list(node) if type(node) is list else []
    for item in items:
        scramble(item)
    if type(node) in (dict, list, set):
        node.clear()


@settings(parent=own.patient, max_examples=300)
@given(own.comparable.documents, st.integers(1, 8), st.data())
def test_draft_equals_plain_containers(base: Document, steps: int, data: st.DataObject) -> None:
    """A program on views does what it does on plain containers; so does its patch, elsewhere."""
    document = copy_value(base)
    recorder = Recorder(document)
    model = Plain(base)
    for _ in range(steps):
        if data.draw(st.integers(0, 5)) == 0:
            name = data.draw(st.sampled_from(sorted(own.comparable.fields)))
            value = data.draw(own.comparable.fields[name])
            setattr(model, name, copy.deepcopy(value))
            setattr(recorder.view, name, value)
            continue
        path = data.draw(st.sampled_from(containers(model)))
        on_plain, on_view = at(model, path), at(recorder.view, path)
        offered = STEPS[type(on_plain)](data.draw)
        step = offered[data.draw(st.integers(0, len(offered) - 1))]
        expected, got = run(step, on_plain), run(step, on_view)
        assert got == expected
        assert shape(document) == shape(vars(model))
    patch = recorder.patch()
    ops = decode_patch(patch)
    assert encode_patch(ops) == patch
    result = copy_value(base)
    apply_patch(result, ops)
    assert shape(result) == shape(vars(model))
    assert recorder.is_empty == (ops == [])
    recorder.rollback()
    assert shape(document) == shape(base)
    assert recorder.is_empty
