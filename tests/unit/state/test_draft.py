"""Drafts: what is recorded, what is refused, and what becomes of views that are kept."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Mapping, MutableMapping, MutableSequence, MutableSet
from typing import Any

import pytest

from headwater.errors import ChangeRejected, UnsupportedValue
from headwater.state.draft import Recorder, StateView, plain, read_only
from headwater.state.model import FIELDS, new_document
from headwater.state.patch import (
    APPEND,
    REMOVE,
    SET,
    SPLICE,
    TEXT,
    Op,
    apply_patch,
    decode_patch,
)
from headwater.state.values import MAX_DEPTH, copy_value, pack, same


@pytest.fixture
def recorder() -> Recorder:
    """A draft of a document with some of everything in it."""
    document = new_document()
    document["data"] = {"plan": ["a", "b"], "text": "x" * 100, "tags": {"t"}, "m": {"k": {"x": 1}}}
    document["messages"] = [{"n": n} for n in range(5)]
    return Recorder(document)


@pytest.fixture
def state(recorder: Recorder) -> StateView:
    """What an agent sees of that draft."""
    return recorder.view


def _ops(recorder: Recorder) -> list[Op]:
    return decode_patch(recorder.patch())


def _refused(recorder: Recorder, step: Any) -> UnsupportedValue:
    """The error of a step that must change nothing."""
    before, ops = pack(recorder.document), recorder.patch()
    with pytest.raises(UnsupportedValue) as caught:
        step()
    assert (pack(recorder.document), recorder.patch()) == (before, ops)
    return caught.value


def test_a_change_is_recorded_as_small_operations(recorder: Recorder, state: StateView) -> None:
    """Each mutation gives one operation with only what is new in it."""
    state.messages.append({"role": "user"})
    state.data["plan"] = ["search"]
    state.data["text"] += "more"
    state.status = "searching"
    state.step += 1
    state.messages[0]["n"] = 7
    state.messages[1:3] = ["one"]
    del state.data["tags"]
    assert _ops(recorder) == [
        (APPEND, ["messages"], {"role": "user"}),
        (SET, ["data", "plan"], ["search"]),
        (TEXT, ["data", "text"], "more"),
        (SET, ["status"], "searching"),
        (SET, ["step"], 1),
        (SET, ["messages", 0, "n"], 7),
        (SPLICE, ["messages"], 1, 2, ["one"]),
        (REMOVE, ["data", "tags"]),
    ]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (lambda s: s.messages.extend([7]), [(APPEND, ["messages"], 7)]),
        (lambda s: s.messages.extend([7, 8]), [(SPLICE, ["messages"], 5, 0, [7, 8])]),
        (lambda s: s.messages.insert(1, 7), [(SPLICE, ["messages"], 1, 0, [7])]),
        (lambda s: s.messages.pop(), [(REMOVE, ["messages", 4])]),
        (lambda s: s.messages.clear(), [(SPLICE, ["messages"], 0, 5, [])]),
        (lambda s: s.data.clear(), [(SET, ["data"], {})]),
        (lambda s: s.data.update(a=1, text="x" * 100), [(SET, ["data", "a"], 1)]),
        (lambda s: setattr(s, "messages", s.messages[2:]), [(SPLICE, ["messages"], 0, 2, [])]),
        (lambda s: setattr(s, "messages", [*s.messages, 7]), [(SPLICE, ["messages"], 5, 0, [7])]),
        (
            lambda s: setattr(s, "messages", [m for m in s.messages if m["n"] != 2]),
            [(SPLICE, ["messages"], 2, 1, [])],
        ),
        (
            lambda s: s.messages.__setitem__(slice(None), [*s.messages[:4], 7]),
            [(SPLICE, ["messages"], 4, 1, [7])],
        ),
        (
            lambda s: setattr(
                s, "data", {**{k: s.data[k] for k in ("plan", "tags", "m")}, "new": 1}
            ),
            [(REMOVE, ["data", "text"]), (SET, ["data", "new"], 1)],
        ),
        (lambda s: s.data["m"]["k"].pop("x"), [(REMOVE, ["data", "m", "k", "x"])]),
        (lambda s: s.data["tags"].add("u"), [(SET, ["data", "tags"], {"t", "u"})]),
        (lambda s: s.data["tags"].update("abc"), [(SET, ["data", "tags"], {"t", *"abc"})]),
    ],
)
def test_operations_are_as_small_as_they_can_be(
    recorder: Recorder, state: StateView, step: Any, expected: list[Op]
) -> None:
    """What was there before is not written again, however the change is spelled."""
    base = copy_value(recorder.document)
    step(state)
    assert _ops(recorder) == expected
    apply_patch(base, _ops(recorder))
    assert same(base, recorder.document)


@pytest.mark.parametrize(
    "step",
    [
        lambda s: setattr(s, "status", "new"),
        lambda s: setattr(s, "data", s.data),
        lambda s: s.data.__setitem__("plan", s.data["plan"]),
        lambda s: s.data.__setitem__("text", "x" * 100),
        lambda s: s.data.update(s.data),
        lambda s: s.data.setdefault("plan", []),
        lambda s: s.data["tags"].add("t"),
        lambda s: s.data["tags"].discard("z"),
        lambda s: s.data["tags"].update(["t"]),
        lambda s: s.messages.extend([]),
        lambda s: s.messages.sort(key=lambda m: m["n"]),
        lambda s: s.messages.__setitem__(slice(0, 2), s.messages[0:2]),
        lambda s: s.messages.__imul__(1),
        lambda s: s.data.pop("missing", None),
        lambda s: s.execution_history.clear(),
        lambda s: s.metadata.clear(),
    ],
)
def test_what_changes_nothing_is_not_recorded(recorder: Recorder, step: Any) -> None:
    """An assignment of what is there already leaves the draft empty."""
    step(recorder.view)
    assert recorder.is_empty
    assert recorder.patch() == b"\x90"


def test_augmented_assignment_records_once(recorder: Recorder, state: StateView) -> None:
    """``+=`` and ``|=`` assign the view they changed back to its place, which records nothing."""
    state.messages += [1, 2]
    state.data["plan"] += ["c"]
    state.data["tags"] |= {"u"}
    state.data["m"] |= {"l": 1}
    assert [op[:2] for op in _ops(recorder)] == [
        (SPLICE, ["messages"]),
        (APPEND, ["data", "plan"]),
        (SET, ["data", "tags"]),
        (SET, ["data", "m", "l"]),
    ]


def test_many_additions_to_a_set_are_one_operation(recorder: Recorder, state: StateView) -> None:
    """A set that is filled in a loop is written once, as it is at the end."""
    tags = state.data["tags"]
    for i in range(1000):
        tags.add(i)
    assert _ops(recorder) == [(SET, ["data", "tags"], {"t", *range(1000)})]
    tags.discard("t")
    assert _ops(recorder)[-1] == (SET, ["data", "tags"], set(range(1000)))


def test_assigned_objects_are_copied(recorder: Recorder, state: StateView) -> None:
    """An alias that the agent keeps cannot change the state behind the record's back."""
    plan = ["a"]
    state.data["plan"] = plan
    state.messages.append(plan)
    state.tool_contexts.update(k=plan)
    state.execution_history = [plan]
    before = pack(recorder.document)
    plan.append("b")
    assert pack(recorder.document) == before
    popped = state.messages.pop()
    popped.append("c")
    recorder.rollback()
    assert recorder.document["data"]["plan"] == ["a", "b"]


def test_views_can_be_assigned(recorder: Recorder, state: StateView) -> None:
    """A view, alone or inside other values, is copied like what it shows."""
    state.data["copy"] = state.data["plan"]
    state.data["nested"] = {"all": (state.data["m"], [state.data["tags"]])}
    state.messages.extend(state.messages)
    state.messages[0] = state.messages[1]
    state.data["copy"].append("c")
    assert recorder.document["data"]["plan"] == ["a", "b"]
    assert recorder.document["data"]["nested"] == {"all": ({"k": {"x": 1}}, [{"t"}])}
    assert len(state.messages) == 10
    assert state.messages[0] == {"n": 1}


def test_unsupported_values_are_named_and_change_nothing(
    recorder: Recorder, state: StateView
) -> None:
    """The call that uses an unsupported value raises, with the path, and the draft goes on."""
    bad, data, messages = object(), state.data, state.messages
    state.status = "busy"
    steps: list[tuple[Any, tuple[Any, ...]]] = [
        (lambda: data.__setitem__("k", bad), ("data", "k")),
        (lambda: data.__setitem__("k", {"x": [bad]}), ("data", "k", "x", 0)),
        (lambda: data.__setitem__("k", [data["m"], bad]), ("data", "k", 1)),
        (lambda: data.__setitem__("text", "x" * 100 + "\ud800"), ("data", "text")),
        (lambda: data.__setitem__(1, 2), ("data",)),  # type: ignore[index]
        (lambda: data.__setitem__("\ud800", 2), ("data",)),
        (lambda: data.update(good=1, k=bad), ("data", "k")),
        (lambda: data.update({1: 2}), ("data",)),
        (lambda: data.setdefault("k", bad), ("data", "k")),
        (lambda: data["m"]["k"].update(x=bad), ("data", "m", "k", "x")),
        (lambda: setattr(state, "data", {**data, "k": bad}), ("data", "k")),
        (lambda: setattr(state, "data", {"k": bad}), ("data", "k")),
        (lambda: messages.append(bad), ("messages", 5)),
        (lambda: messages.append({"n": bad}), ("messages", 5, "n")),
        (lambda: messages.extend([1, bad]), ("messages", 6)),
        (lambda: messages.insert(2, bad), ("messages", 2)),
        (lambda: messages.__setitem__(-1, bad), ("messages", 4)),
        (lambda: messages.__setitem__(slice(1, 3), [1, {"k": bad}]), ("messages", 2, "k")),
        (lambda: setattr(state, "messages", [*messages, bad]), ("messages", 5)),
        (lambda: data["tags"].add(3j), ("data", "tags")),
        (lambda: data["tags"].update(["ok", (3j,)]), ("data", "tags", 0)),
        (lambda: setattr(state, "step", "1"), ("step",)),
        (lambda: setattr(state, "step", True), ("step",)),
        (lambda: setattr(state, "status", None), ("status",)),
        (lambda: setattr(state, "data", []), ("data",)),
        (lambda: setattr(state, "data", messages), ("data",)),
        (lambda: setattr(state, "task", bad), ("task",)),
    ]
    for step, path in steps:
        assert _refused(recorder, step).path == path
    assert _ops(recorder) == [(SET, ["status"], "busy")]


def test_unknown_fields_are_refused(state: StateView) -> None:
    """A misspelt field is an AttributeError, not a new field."""
    with pytest.raises(AttributeError):
        state.statsu = "x"  # type: ignore[attr-defined]


def test_nesting_through_views_is_bounded(recorder: Recorder) -> None:
    """No row of small assignments can build a document too deep to be packed."""
    view: Any = recorder.view.data
    with pytest.raises(UnsupportedValue, match="deeper"):
        for _ in range(2 * MAX_DEPTH):
            view["k"] = {}
            view = view["k"]
    cycle: list[Any] = [view]
    cycle.extend([cycle, cycle])
    assert "part of itself" in str(_refused(recorder, lambda: recorder.view.messages.append(cycle)))


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
