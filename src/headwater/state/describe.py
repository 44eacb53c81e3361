"""What a patch changes, for people and for those who choose when to take a snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headwater.errors import PathItem, format_path
from headwater.state.patch import APPEND, REMOVE, SET, SPLICE, TEXT, Op
from headwater.state.values import heaviest, pack


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a patch changes.

    Places are named down to two levels, ``status``, ``data.plan`` or ``messages[3]``, each once, by
    what happened to it last. Messages that were added to ``messages`` are in ``new_messages``, and
    that field is among the changed ones too. ``change_count`` is the number of operations.
    """

    changed_fields: tuple[str, ...] = ()
    removed_fields: tuple[str, ...] = ()
    new_messages: tuple[Any, ...] = ()
    changed_metadata: tuple[str, ...] = ()
    change_count: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the patch does nothing."""
        return self.change_count == 0

    @property
    def description(self) -> str:
        """One line for people."""
        if self.is_empty:
            return "no changes"
        parts = []
        if self.changed_fields:
            parts.append(f"changed {_some(self.changed_fields)}")
        if self.removed_fields:
            parts.append(f"removed {_some(self.removed_fields)}")
        if count := len(self.new_messages):
            parts.append(f"{count} new message{'s' if count > 1 else ''}")
        return "; ".join(parts) or "nothing that fits a state"


def describe(ops: Sequence[Op]) -> Changes:
    """What decoded operations change.

    Operations that no document could take are counted, and otherwise left out.
    """
    changed: dict[str, None] = {}
    removed: dict[str, None] = {}
    metadata: dict[str, None] = {}
    messages: list[Any] = []
    for op in ops:
        place = _place(op)
        if place is None:
            continue
        name, taken_out = format_path(place), op[0] == REMOVE and len(place) == len(op[1])
        (changed if taken_out else removed).pop(name, None)
        (removed if taken_out else changed)[name] = None
        if place[0] == "metadata" and len(place) > 1:
            metadata[str(place[1])] = None
        if list(op[1]) == ["messages"]:
            messages += _added(op)
    return Changes(
        changed_fields=tuple(changed),
        removed_fields=tuple(removed),
        new_messages=tuple(messages),
        changed_metadata=tuple(metadata),
        change_count=len(ops),
    )


def heaviest_change(ops: Sequence[Op]) -> tuple[PathItem, ...]:
    """The path of what takes most of a good patch's bytes: the one to name when it is too large."""
    sized = [(len(pack(op[-1])), op) for op in ops if len(op) > 2]
    if not sized:
        return ()
    _, op = max(sized, key=lambda pair: pair[0])
    inside = heaviest(op[-1])
    if op[0] == SPLICE and inside:
        first, *rest = inside
        inside = (op[2] + first, *rest)
    return (*op[1], *inside)


def _place(op: Any) -> tuple[PathItem, ...] | None:
    if type(op) is not tuple or len(op) < 2 or type(op[0]) is not int or not SET <= op[0] <= TEXT:
        return None
    path = op[1]
    if type(path) not in (list, tuple) or not path or type(path[0]) is not str:
        return None
    second = path[1] if len(path) > 1 else ""
    if type(second) is str or (type(second) is int and 0 <= second < 2**63):
        return tuple(path[:2])
    return None


def _added(op: Op) -> list[Any]:
    """What an operation on ``messages`` itself adds at its end."""
    if op[0] == APPEND and len(op) == 3:
        return [op[2]]
    if op[0] == SPLICE and len(op) == 5 and type(op[4]) is list:
        return list(op[4]) if type(op[3]) is int and op[3] == 0 else []
    return []


def _some(names: tuple[str, ...], limit: int = 5) -> str:
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
