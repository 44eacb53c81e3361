"""Programs that are run on views and on plain containers alike, and a way to compare outcomes."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from headwater.errors import ChangeRejected, UnsupportedValue
from headwater.state.draft import plain
from headwater.state.model import Document
from headwater.state.values import copy_value
from tests.property.strategies import comparable, keys


def shape(value: Any) -> Any:
    """A text that tells values apart by type, bits and zone, made without the code under test."""
    kind = type(value)
    if kind is dict:
        return "{" + ",".join(sorted(f"{key!r}:{shape(item)}" for key, item in value.items())) + "}"
    if kind in (list, tuple):
        return kind.__name__ + "(" + ",".join(shape(item) for item in value) + ")"
    if kind in (set, frozenset):
        return kind.__name__ + "(" + ",".join(sorted(shape(item) for item in value)) + ")"
    if kind is float:
        return "float:" + struct.pack(">d", value).hex()
    if hasattr(value, "tzinfo"):
        return f"datetime:{value!r}"
    return f"{kind.__name__}:{value!r}"


Step = Callable[[Any], Any]


def run(step: Step, target: Any) -> Any:
    """What a step returns, or the type of what it raises."""
    try:
        return _plain_shape(step(target))
    except (TypeError, ValueError, KeyError, IndexError, ChangeRejected) as error:
        return KeyError if isinstance(error, KeyError) else type(error)


def _plain_shape(value: Any) -> Any:
    try:
        return shape(plain(value))
    except UnsupportedValue:
        return None


def _map_steps(draw: Callable[[Any], Any]) -> list[Step]:
    key, value, new = draw(keys), draw(comparable.values), draw(comparable.maps)
    return [
        lambda m: m.__setitem__(key, copy.deepcopy(value)),
        lambda m: m.__delitem__(key),
        lambda m: m.pop(key),
        lambda m: m.pop(key, None),
        lambda m: m.popitem(),
        lambda m: m.setdefault(key, copy.deepcopy(value)),
        lambda m: m.update(copy.deepcopy(new)),
        lambda m: m.update(copy.deepcopy(new), extra=copy.deepcopy(value)),
        lambda m: m.__ior__(copy.deepcopy(new)),
        lambda m: m.clear(),
        lambda m: m.get(key),
        lambda m: m[key],
        lambda m: [key in m, len(m), sorted(m), sorted(m.keys()), bool(m)],
        lambda m: sorted(_plain_shape(item) for item in m.values()),
        lambda m: m | new,
        lambda m: new | m,
        lambda m: m == new,
        lambda m: m.__setitem__(key, m[key] + "!" * 3),
        lambda m: m.__setitem__(key, {**m[key], "new": 1}),
    ]


def _list_steps(draw: Callable[[Any], Any]) -> list[Step]:
    i, j = draw(st.integers(-4, 5)), draw(st.integers(-4, 5))
    stride = draw(st.sampled_from([None, 1, 2, -1]))
    value, new = draw(comparable.values), draw(comparable.lists)
    return [
        lambda t: t.append(copy.deepcopy(value)),
        lambda t: t.extend(copy.deepcopy(new)),
        lambda t: t.insert(i, copy.deepcopy(value)),
        lambda t: t.__setitem__(i, copy.deepcopy(value)),
        lambda t: t.__setitem__(slice(i, j), copy.deepcopy(new)),
        lambda t: t.__setitem__(slice(i, j, stride), copy.deepcopy(new)),
        lambda t: t.__delitem__(i),
        lambda t: t.__delitem__(slice(i, j, stride)),
        lambda t: t.pop(),
        lambda t: t.pop(i),
        lambda t: t.remove(t[i]),
        lambda t: t.clear(),
        lambda t: t.reverse(),
        _sort,
        lambda t: _sort(t, key=lambda item: str(type(plain(item))), reverse=bool(i % 2)),
        lambda t: t.__iadd__(copy.deepcopy(new)),
        lambda t: _repeat(t, i % 3),
        lambda t: t.__setitem__(slice(None), list(t[i:])),
        lambda t: [len(t), bool(t), list(t), t[i:j:stride], list(reversed(t))],
        lambda t: t[i],
        lambda t: [t == new, t + new, new + t, t * 2],
        lambda t: [t.index(t[i]), t.count(t[i]), t[i] in t],
        lambda t: t < new,
    ]


def _repeat(target: Any, times: int) -> None:
    """Multiply in place; in a plain list too, the repeated items are copies."""
    if type(target) is list:
        target[:] = [copy.deepcopy(item) for item in target * times] if times != 1 else target
    else:
        target *= times


def _sort(target: Any, **options: Any) -> None:
    """Sort; a plain list keeps its order where its items cannot be compared, as a view does."""
    if type(target) is list:
        target[:] = sorted(target, **options)
    else:
        target.sort(**options)


def _set_steps(draw: Callable[[Any], Any]) -> list[Step]:
    element, new = draw(comparable.hashables), draw(st.sets(comparable.hashables, max_size=3))
    return [
        lambda s: s.add(element),
        lambda s: s.discard(element),
        lambda s: s.remove(element),
        lambda s: s.clear(),
        lambda s: s.update(new, [element]),
        lambda s: s.__ior__(new),
        lambda s: s.__iand__(new),
        lambda s: s.__isub__(new),
        lambda s: s.__ixor__(new),
        lambda s: s.intersection_update([element]),
        lambda s: s.difference_update([element]),
        lambda s: s.symmetric_difference_update(new),
        lambda s: [element in s, len(s), s == new, s | new, s & new, s - new, s ^ new, new - s],
        lambda s: [s <= new, s >= new, s.isdisjoint(new), s.issubset(new), s.union(new)],
        lambda s: s.discard(min(s, key=shape)),
    ]


STEPS: dict[type, Callable[[Any], list[Step]]] = {
    dict: _map_steps,
    list: _list_steps,
    set: _set_steps,
}


class Plain:
    """A document with its fields as attributes: what a StateView is compared with."""

    def __init__(self, document: Document) -> None:
        self.__dict__.update(copy_value(document))


def containers(model: Plain) -> list[tuple[Any, ...]]:
    """The paths of all containers that a program may change."""
    found: list[tuple[Any, ...]] = []

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        if type(value) in STEPS:
            found.append(path)
        if type(value) in (dict, list):
            for key, item in value.items() if type(value) is dict else enumerate(value):
                walk(item, (*path, key))

    for name, value in vars(model).items():
        walk(value, (name,))
    return found


def at(state: Any, path: tuple[Any, ...]) -> Any:
    node = getattr(state, path[0])
    for key in path[1:]:
        node = node[key]
    return node
