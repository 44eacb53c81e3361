"""Differences: they are right by law (see the property tests); here, that they are small."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from headwater.errors import UnsupportedValue
from headwater.state.diff import diff
from headwater.state.model import Document, new_document
from headwater.state.patch import APPEND, REMOVE, SET, SPLICE, TEXT, Op, apply_patch, encode_patch
from headwater.state.values import copy_value, same

MESSAGES = [{"role": "user", "content": f"message {n} " + "x" * 60} for n in range(10)]
LONG = "x" * 100


def _with(**fields: Any) -> Document:
    return {**new_document(), **copy_value(fields)}


def _edited(index: int, **changes: Any) -> list[Any]:
    messages: list[Any] = copy_value(MESSAGES)
    messages[index].update(changes)
    return messages


@pytest.mark.parametrize(
    ("base", "current", "expected"),
    [
        (_with(), _with(), []),
        (_with(), _with(status="x", step=1), [(SET, ["status"], "x"), (SET, ["step"], 1)]),
        (_with(task=1), _with(task=1.0), [(SET, ["task"], 1.0)]),
        (_with(task=True), _with(task=1), [(SET, ["task"], 1)]),
        (_with(task=(1,)), _with(task=[1]), [(SET, ["task"], [1])]),
        (_with(task={"a": 1}), _with(task=[1]), [(SET, ["task"], [1])]),
        (_with(task=[1]), _with(task={"a": 1}), [(SET, ["task"], {"a": 1})]),
        (
            _with(data={"a": LONG, "b": 1}),
            _with(data={"a": LONG, "b": 2}),
            [(SET, ["data", "b"], 2)],
        ),
        (_with(task={1}), _with(task={2}), [(SET, ["task"], {2})]),
        (_with(task=LONG), _with(task=LONG + "y"), [(TEXT, ["task"], "y")]),
        (_with(task="x"), _with(task="xy"), [(SET, ["task"], "xy")]),
        (
            _with(data={"a": 1, "b": {"c": 2, "d": 3}, "e": 4}),
            _with(data={"b": {"c": 2, "d": 5}, "e": 4, "f": 6}),
            [(REMOVE, ["data", "a"]), (SET, ["data", "b", "d"], 5), (SET, ["data", "f"], 6)],
        ),
        (_with(data={"a": 1, "b": 2}), _with(data={"c": 3}), [(SET, ["data"], {"c": 3})]),
        (_with(data={"a": 1}), _with(), [(SET, ["data"], {})]),
        (
            _with(messages=MESSAGES[:9]),
            _with(messages=MESSAGES),
            [(APPEND, ["messages"], MESSAGES[9])],
        ),
        (
            _with(messages=MESSAGES[:8]),
            _with(messages=MESSAGES),
            [(SPLICE, ["messages"], 8, 0, MESSAGES[8:])],
        ),
        (
            _with(messages=MESSAGES[:8]),
            _with(messages=MESSAGES[2:]),
            [(SPLICE, ["messages"], 8, 0, MESSAGES[8:]), (SPLICE, ["messages"], 0, 2, [])],
        ),
        (
            _with(messages=MESSAGES),
            _with(messages=_edited(4, content="new")),
            [(SET, ["messages", 4, "content"], "new")],
        ),
        (
            _with(messages=MESSAGES),
            _with(messages=[*_edited(9, content=MESSAGES[9]["content"] + "more"), "last"]),
            [(APPEND, ["messages"], "last"), (TEXT, ["messages", 9, "content"], "more")],
        ),
        (
            _with(messages=MESSAGES),
            _with(messages=[*MESSAGES[:3], *MESSAGES[4:7], "new", *MESSAGES[7:]]),
            [(SPLICE, ["messages"], 7, 0, ["new"]), (SPLICE, ["messages"], 3, 1, [])],
        ),
        (
            _with(messages=[1, 1, 1, 2, 1]),
            _with(messages=[1, 1, 2, 1, 1]),
            [(SPLICE, ["messages"], 4, 0, [1]), (SPLICE, ["messages"], 2, 1, [])],
        ),
    ],
)
def test_differences_are_small(base: Document, current: Document, expected: list[Op]) -> None:
    """What is the same on both sides is not written again."""
    ops = diff(base, current)
    assert [(op[0], list(op[1]), *op[2:]) for op in ops] == expected
    apply_patch(base, ops)
    assert same(base, current)


@pytest.mark.parametrize("field", ["data", "step"])
def test_unsupported_values_are_named(field: str) -> None:
    """A current state that cannot be kept is refused with the path."""
    value: Any = {"k": [3j]} if field == "data" else "1"
    with pytest.raises(UnsupportedValue) as caught:
        diff(new_document(), {**new_document(), field: value})
    assert caught.value.path == (("data", "k", 0) if field == "data" else ("step",))


def test_large_documents_take_little_time() -> None:
    """A megabyte of messages and maps, edited all over, takes a fraction of a second."""
    rng = random.Random(1)
    base = _with(
        messages=[{"n": n, "content": rng.randbytes(300).hex()} for n in range(1500)],
        data={f"k{n}": [n, {"x": n}] for n in range(5000)},
    )
    current = copy_value(base)
    del current["messages"][:100]
    rng.shuffle(current["messages"][500:600])
    current["messages"] += [{"n": n} for n in range(500)]
    for n in range(0, 5000, 10):
        current["data"][f"k{n}"][1]["x"] = -1
    began = time.process_time()
    ops = diff(base, current)
    assert time.process_time() - began < 2
    assert len(encode_patch(ops)) < 50_000
    apply_patch(base, ops)
    assert same(base, current)


@pytest.mark.parametrize("shape", ["few values", "shuffled", "all edited"])
def test_long_lists_take_linear_time(shape: str) -> None:
    """The worst lists for an alignment do not take time by their product."""
    rng, size = random.Random(1), 20_000
    old: list[Any] = list(range(size))
    new: list[Any] = rng.sample(old, size)
    if shape == "few values":
        old, new = ([rng.randrange(3) for _ in range(size)] for _ in range(2))
    elif shape == "all edited":
        old, new = ([{"a": 1, "b": sign * n} for n in range(size)] for sign in (1, -1))
    base, current = _with(messages=old), _with(messages=new)
    began = time.process_time()
    ops = diff(base, current)
    assert time.process_time() - began < 5
    apply_patch(base, ops)
    assert same(base, current)
