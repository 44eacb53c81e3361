"""Drafts: what is recorded, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.errors import UnsupportedValue
from headwater.state.draft import Recorder, StateView
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
from headwater.state.values import MAX_DEPTH, copy_value, pack, same, unpack


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


def test_sets_beside_each_other_are_recorded_apart(recorder: Recorder, state: StateView) -> None:
    """Changes of two sets in turn give each its own elements."""
    state.data["more"] = {"m"}
    state.data["tags"].add(1)
    state.data["more"].add(2)
    assert _ops(recorder)[1:] == [
        (SET, ["data", "tags"], {"t", 1}),
        (SET, ["data", "more"], {"m", 2}),
    ]


def test_sets_get_their_own_elements_back(recorder: Recorder, state: StateView) -> None:
    """An equal element of another type takes out the set's own, which a rollback restores."""
    state.data["numbers"] = {1, 2.0}
    recorder.reset()
    before = pack(recorder.document)
    state.data["numbers"].remove(True)
    state.data["numbers"].discard(2)
    assert not state.data["numbers"]
    recorder.rollback()
    assert same(recorder.document, unpack(before))


def test_the_same_item_twice_is_two_items(recorder: Recorder, state: StateView) -> None:
    """Where a new list names an old item more often than before, the others are copies."""
    base = copy_value(recorder.document)
    state.execution_history = [{"n": 1}, "x"]
    state.execution_history = [state.execution_history[0]] * 3
    state.execution_history[2]["n"] = 3
    assert recorder.document["execution_history"] == [{"n": 1}, {"n": 1}, {"n": 3}]
    state.data["plan"] = ["a"]
    state.data["plan"] = ["a", "a"]
    assert recorder.document["data"]["plan"] == ["a", "a"]
    apply_patch(base, _ops(recorder))
    assert same(base, recorder.document)


def test_slices_with_steps(recorder: Recorder, state: StateView) -> None:
    """Every other item can be deleted and assigned."""
    base = copy_value(recorder.document)
    del state.messages[::2]
    assert state.messages == [{"n": 1}, {"n": 3}]
    state.messages[::-1] = ["a", "b"]
    assert state.messages == ["b", "a"]
    apply_patch(base, _ops(recorder))
    assert same(base, recorder.document)


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
    recorder.rollback()
    assert recorder.document["data"]["plan"] == ["a", "b"]


def test_what_is_taken_out_is_a_copy(recorder: Recorder, state: StateView) -> None:
    """Changing what was popped does not change what a rollback puts back."""
    before = pack(recorder.document)
    state.messages.pop()["n"] = 7
    state.messages.pop(0)["n"] = 7
    state.data.pop("plan").append("c")
    state.data.popitem()[1]["k"]["x"] = 7
    recorder.rollback()
    assert same(recorder.document, unpack(before))


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
