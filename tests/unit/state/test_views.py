"""Views: how they look, and what becomes of those that are kept."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Mapping, MutableMapping, MutableSequence, MutableSet
from typing import Any

import pytest

from headwater.errors import ChangeRejected
from headwater.state.draft import Recorder, StateView, plain, read_only
from headwater.state.model import FIELDS, new_document
from headwater.state.patch import (
    APPEND,
    SET,
    Op,
    apply_patch,
    decode_patch,
)
from headwater.state.values import pack


def _ops(recorder: Recorder) -> list[Op]:
    return decode_patch(recorder.patch())


def test_views_follow_their_containers(recorder: Recorder, state: StateView) -> None:
    """A view of an item that has moved inside its list goes on working, at the right place."""
    last, inner = state.messages[4], state.data["m"]["k"]
    state.messages.insert(0, "first")
    state.messages.sort(key=lambda m: -m["n"] if m != "first" else 1)
    last["n"] = 44
    assert _ops(recorder)[-1] == (SET, ["messages", 0, "n"], 44)
    state.data["m"]["other"] = 1
    inner["x"] = 2
    assert recorder.document["data"]["m"] == {"k": {"x": 2}, "other": 1}


@pytest.mark.parametrize(
    "cut",
    [
        lambda s: s.messages.pop(2),
        lambda s: s.messages.clear(),
        lambda s: s.messages.__setitem__(2, {"n": 2}),
        lambda s: s.messages.__setitem__(2, "text"),
        lambda s: setattr(s, "messages", []),
        lambda s: setattr(s, "messages", [{"k": {}}] * 5),
    ],
)
def test_views_of_what_is_gone_are_refused(recorder: Recorder, state: StateView, cut: Any) -> None:
    """A view whose container was replaced or removed says so, and never changes another."""
    message = state.messages[2]
    cut(state)
    before = pack(recorder.document)
    with pytest.raises(ChangeRejected, match=r"messages(\[2\])? was replaced or removed"):
        message["n"] = 7
    assert pack(recorder.document) == before
    assert message["n"] == 2


def test_a_replaced_field_is_another_container(state: StateView) -> None:
    """The old view of a field that was assigned is no alias of the new one, as with a dict."""
    old = state.data
    state.data = {**state.data, "k": 1}
    with pytest.raises(ChangeRejected, match="data was replaced"):
        old["k"] = 2
    state.data["k"] = 3
    state.data["m"]["k"]["x"] = 4


def test_rollback_restores_everything(recorder: Recorder, state: StateView) -> None:
    """All is as before, views included, and the draft can be used again."""
    before = copy.deepcopy(recorder.document)
    plan = state.data["plan"]
    state.data["tags"] |= {"u", "v"}
    state.data["tags"].clear()
    state.data["m"]["k"]["y"] = 2
    state.data["m"].clear()
    del state.data["text"]
    state.messages[1:3] = [7]
    del state.messages[0]
    state.messages *= 2
    state.data = {}
    state.messages.reverse()
    state.messages.clear()
    state.step = 4
    recorder.rollback()
    assert recorder.document == before
    assert list(recorder.document) == list(FIELDS)
    assert recorder.is_empty
    plan.append("c")
    assert _ops(recorder) == [(APPEND, ["data", "plan"], "c")]


def _uses(view: Any) -> list[Any]:
    uses = [lambda: len(view), lambda: repr(view), lambda: list(view), lambda: view == 1]
    if isinstance(view, Mapping):
        uses += [lambda: view["plan"], lambda: view.get("plan"), lambda: list(view.items())]
    return uses


def _changes(state: StateView, data: Any, plan: Any, tags: Any) -> list[Any]:
    return [
        lambda: setattr(state, "status", "x"),
        lambda: data.__setitem__("k", 1),
        lambda: data.__delitem__("plan"),
        lambda: data.pop("missing", None),
        data.popitem,
        lambda: data.setdefault("plan", 1),
        data.update,
        data.clear,
        lambda: plan.append(1),
        lambda: plan.extend([]),
        lambda: plan.insert(0, 1),
        plan.pop,
        lambda: plan.remove("a"),
        plan.clear,
        plan.sort,
        plan.reverse,
        lambda: plan.__setitem__(0, 1),
        lambda: plan.__delitem__(slice(None)),
        lambda: plan.__iadd__([1]),
        lambda: plan.__imul__(2),
        lambda: tags.add(1),
        lambda: tags.discard("t"),
        lambda: tags.remove("t"),
        tags.pop,
        tags.clear,
        lambda: tags.update([1]),
        lambda: tags.__ior__({1}),
    ]


def test_nothing_works_after_the_change(recorder: Recorder, state: StateView) -> None:
    """Once the draft is closed, every view of it refuses to be read and to be changed."""
    data, plan, tags = state.data, state.data["plan"], state.data["tags"]
    recorder.close()
    uses = [lambda: state.status, lambda: state.data, lambda: repr(state)]
    uses += [use for view in (data, plan, tags) for use in _uses(view)]
    for use in [*uses, *_changes(state, data, plan, tags)]:
        with pytest.raises(ChangeRejected, match="after its change ended"):
            use()


def test_read_only_views_can_be_read(recorder: Recorder) -> None:
    """Outside a change the same views can be read; each mutation says what to do instead."""
    before = pack(recorder.document)
    state = read_only(recorder.document)
    data, plan, tags = state.data, state.data["plan"], state.data["tags"]
    for use in [use for view in (data, plan, tags) for use in _uses(view)]:
        use()
    for change in _changes(state, data, plan, tags):
        with pytest.raises(ChangeRejected, match=r"use agent.change\(\)"):
            change()
    assert pack(recorder.document) == before
    recorder.document["status"] = "later"
    assert state.status == "later"


def test_a_recorder_can_be_used_again(recorder: Recorder, state: StateView) -> None:
    """After a reset the next change begins, empty, and cannot take back the one before."""
    state.step = 1
    recorder.close()
    recorder.reset()
    assert recorder.is_empty
    state.data["k"] = 1
    recorder.rollback()
    assert state.step == 1
    assert "k" not in state.data


def test_views_look_like_what_they_show(state: StateView) -> None:
    """Representation, equality, truth and the abstract types are those of the container."""
    data, plan, tags = state.data, state.data["plan"], state.data["tags"]
    assert (repr(plan), repr(tags)) == ("['a', 'b']", "{'t'}")
    assert isinstance(data, MutableMapping)
    assert isinstance(plan, MutableSequence)
    assert isinstance(tags, MutableSet)
    assert plan == ["a", "b"]
    assert plan == ["a", "b"]
    assert plan == state.data["plan"]
    assert {"t"} == tags
    assert not state.metadata
    assert [["a", "b"]].count(plan) == 1
    assert {"n": 3} in state.messages
    assert state.messages.index(state.messages[3]) == 3
    assert dict(data) == data
    assert {**data} == data
    match data:
        case {"m": {"k": {"x": x}}}:
            assert x == 1
    match plan:
        case [first, *_]:
            assert first == "a"
    with pytest.raises(TypeError):
        hash(plan)
    assert "status='new'" in repr(state)


def test_plain_copies(recorder: Recorder, state: StateView) -> None:
    """Every way to copy a view gives plain containers that nothing connects to the state."""
    data = state.data
    copies = [
        plain(data),
        data.copy(),
        copy.copy(data),
        copy.deepcopy(data),
        pickle.loads(pickle.dumps(data)),
    ]
    for copied in copies:
        assert type(copied) is dict
        assert copied == recorder.document["data"]
        copied["plan"].append("z")
    assert state.data["plan"] == ["a", "b"]
    assert plain(state) == recorder.document
    assert json.dumps(plain({"m": (state.messages,)})) == json.dumps(
        {"m": [[{"n": n} for n in range(5)]]}
    )


def test_tuples_with_mutable_parts_are_read_as_copies(recorder: Recorder, state: StateView) -> None:
    """What a tuple holds cannot be changed unnoticed."""
    state.data["pair"] = ([1], 2)
    state.data["pair"][0].append(3)
    state.task = ({"k": 1},)
    state.task[0]["k"] = 2
    assert recorder.document["data"]["pair"] == ([1], 2)
    assert recorder.document["task"] == ({"k": 1},)


def test_indexes_are_plain_numbers(recorder: Recorder, state: StateView) -> None:
    """Negative and boolean indexes are recorded as the places that they mean."""
    state.messages[-1] = "last"
    state.messages[True] = "second"
    del state.messages[False]
    base = new_document() | {"messages": [{"n": n} for n in range(5)]}
    apply_patch(base, _ops(recorder))
    assert [op[1] for op in _ops(recorder)] == [["messages", 4], ["messages", 1], ["messages", 0]]
    assert base["messages"] == recorder.document["messages"]


def test_the_key_function_of_sort_sees_views(state: StateView) -> None:
    """A key function cannot change items unnoticed, and sorting keeps equal items in order."""
    state.messages.sort(key=lambda m: m["n"] % 2, reverse=True)
    assert [m["n"] for m in state.messages] == [1, 3, 0, 2, 4]


def test_iteration_sees_growth(state: StateView) -> None:
    """Iterating over a list that grows goes on to the new items, as with any list."""
    seen = []
    for item in state.data["plan"]:
        seen.append(item)
        if len(state.data["plan"]) < 4:
            state.data["plan"].append(item + "!")
    assert seen == ["a", "b", "a!", "b!"]
    with pytest.raises(RuntimeError):
        for key in state.data:
            state.data[key + "2"] = 1
