"""What is different between two states, place by place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from headwater.errors import PathItem, format_path
from headwater.state.describe import Changes, describe
from headwater.state.diff import diff
from headwater.state.model import FIELDS, Document
from headwater.state.patch import APPEND, REMOVE, SET, SPLICE, Op
from headwater.state.values import copy_value

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place that differs. ``old`` is None where something was added, ``new`` where removed.

    Of a text that grew, ``grown`` is what was added at its end.
    """

    path: tuple[PathItem, ...]
    kind: Kind
    old: Any = None
    new: Any = None
    grown: str | None = None

    @property
    def name(self) -> str:
        """The path as ``data.plan[3]``."""
        return format_path(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What makes one state of another; false where there is nothing.

    ``before`` and ``after`` are the versions. Positions in lists are those before, for what was
    added those after.
    """

    before: int
    after: int
    places: tuple[Place, ...]
    changes: Changes = field(default_factory=Changes)

    def __bool__(self) -> bool:
        return bool(self.places)

    @property
    def new_messages(self) -> tuple[Any, ...]:
        """The messages that were added at the end."""
        return self.changes.new_messages

    @property
    def description(self) -> str:
        """One line for people."""
        return self.changes.description


def compare(old: Document, new: Document, *, before: int = 0, after: int = 0) -> Difference:
    """What is different in ``new``, values copied."""
    ops = diff(old, new)
    # What is changed in a list is told from its end to its start.
    places = sorted(_places(old, ops), key=_order)
    return Difference(
        before=before, after=after, places=tuple(places), changes=describe(copy_value(ops))
    )


def _order(place: Place) -> tuple[Any, ...]:
    # A list's positions in their order, and what was removed before what was added.
    steps = [(0, step, "") if type(step) is int else (1, 0, step) for step in place.path]
    return FIELDS.index(str(place.path[0])), steps, place.kind == "added"


def _places(old: Document, ops: Sequence[Op]) -> Iterator[Place]:
    shifts: dict[tuple[PathItem, ...], list[tuple[int, int]]] = {}
    for op in ops:
        if op[0] == SPLICE:
            shifts.setdefault(tuple(op[1]), []).append((op[2], len(op[4]) - op[3]))
    for op in ops:
        code, path = op[0], tuple(op[1])
        if code == SPLICE:
            yield from _spliced(old, op, shifts[path])
        elif code == APPEND:
            moved = sum(by for _, by in shifts.get(path, ()))
            index = len(_at(old, path)) + moved
            yield Place(path=(*path, index), kind="added", new=copy_value(op[2]))
        elif code == REMOVE:
            yield Place(path=path, kind="removed", old=copy_value(_at(old, path)))
        else:
            yield from _set(old, path, op, is_text=code != SET)


def _spliced(old: Document, op: Op, shifts: Sequence[tuple[int, int]]) -> Iterator[Place]:
    _, path, index, count, values = op
    path = tuple(path)
    items = _at(old, path)
    moved = sum(by for start, by in shifts if start < index)
    alike = min(count, len(values))
    for i in range(index, index + count):
        old = copy_value(items[i])
        if i < index + alike:
            new = copy_value(values[i - index])
            yield Place(path=(*path, i), kind="changed", old=old, new=new)
        else:
            yield Place(path=(*path, i), kind="removed", old=old)
    for i, value in enumerate(values[alike:], index + moved + alike):
        yield Place(path=(*path, i), kind="added", new=copy_value(value))


def _set(old: Document, path: tuple[PathItem, ...], op: Op, *, is_text: bool) -> Iterator[Place]:
    new = copy_value(op[2])
    try:
        was = copy_value(_at(old, path))
    except KeyError:
        yield Place(path=path, kind="added", new=new)
        return
    if is_text:
        yield Place(path=path, kind="changed", old=was, new=was + new, grown=new)
    elif type(was) is dict and type(new) is dict:
        # No key is in both, or it would be a patch of its own.
        for key, value in was.items():
            yield Place(path=(*path, key), kind="removed", old=value)
        for key, value in new.items():
            yield Place(path=(*path, key), kind="added", new=value)
    else:
        yield Place(path=path, kind="changed", old=was, new=new)


def _at(document: Any, path: Sequence[PathItem]) -> Any:
    value = document
    for step in path:
        value = value[step]
    return value
