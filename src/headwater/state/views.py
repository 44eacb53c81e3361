"""Views of the containers inside a document, which record what is done to them.

A view behaves like the dict, list or set that it shows. It reads the document itself, and hands out
further views for containers; a change goes into the document at once, and into the recorder as one
operation. What is assigned is copied: changing the assigned object afterwards changes nothing here.
What is taken out (``pop``) comes as a plain copy.
"""

from __future__ import annotations

from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    MutableMapping,
    ValuesView,
)
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from headwater.errors import ChangeRejected, PathItem, UnsupportedValue, format_path
from headwater.state.patch import MISSING, REFILL, REMOVE, SET, UNSET
from headwater.state.special import Refused, check_text
from headwater.state.values import MAX_DEPTH, SCALARS, TOO_DEEP, copy_value

if TYPE_CHECKING:
    from headwater.state.draft import Recorder

Place = tuple[PathItem, ...]

_PLAIN = SCALARS | {datetime, date, UUID, Decimal, frozenset}


class View:
    """What the views have in common: where they stand, and whether they may be used."""

    __slots__ = ("_parent", "_path", "_recorder", "_target")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, recorder: Recorder, target: Any, path: Place, parent: View | None) -> None:
        self._recorder = recorder
        self._target = target
        self._path = path
        self._parent = parent

    def _read(self) -> Any:
        """The container itself, as long as it may be read."""
        if self._recorder.closed:
            raise ChangeRejected(self._recorder.refusal)
        return self._target

    def _place(self) -> Place:
        """Where the container stands now, as long as it may be changed."""
        recorder = self._recorder
        if recorder.refusal is not None:
            raise ChangeRejected(recorder.refusal)
        node: Any = recorder.document
        try:
            for item in self._path:
                node = node[item]
        except (KeyError, IndexError, TypeError):
            node = None
        return self._path if node is self._target else self._find()

    def _find(self) -> Place:
        """The new place of a container that moved inside its parent, as items of lists do."""
        parent = self._parent
        if parent is not None:
            path, siblings = parent._place(), parent._target
            pairs = siblings.items() if type(siblings) is dict else enumerate(siblings)
            for key, sibling in pairs:
                if sibling is self._target:
                    self._path = (*path, key)
                    return self._path
        raise ChangeRejected(
            f"{format_path(self._path)} was replaced or removed after it was read here; "
            "read it again from the state"
        )

    def _show(self, value: Any, key: PathItem) -> Any:
        """What a reader gets for a value: a view, or the value where nobody can change it."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        view = VIEWS.get(kind)
        if view is not None:
            return view(self._recorder, value, (*self._path, key), self)
        return value if _frozen(value) else copy_value(value)

    def __len__(self) -> int:
        return len(self._read())

    def __contains__(self, item: object) -> bool:
        return unwrap(item) in self._read()

    def __repr__(self) -> str:
        return repr(self._read())

    def __eq__(self, other: object) -> bool:
        return bool(self._read() == unwrap(other))

    def __lt__(self, other: Any) -> bool:
        return bool(self._read() < unwrap(other))

    def __le__(self, other: Any) -> bool:
        return bool(self._read() <= unwrap(other))

    def __gt__(self, other: Any) -> bool:
        return bool(self._read() > unwrap(other))

    def __ge__(self, other: Any) -> bool:
        return bool(self._read() >= unwrap(other))

    def copy(self) -> Any:
        """A plain deep copy."""
        return copy_value(self._read())

    __copy__ = copy

    def __deepcopy__(self, memo: object) -> Any:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self._target), (self.copy(),)


class MapView(View):
    """A dict inside the document."""

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        value = self._read()[key]
        return value if type(value) in SCALARS else self._show(value, key)

    def get(self, key: str, default: Any = None) -> Any:
        """As `dict.get`."""
        value = self._read().get(key, MISSING)
        return default if value is MISSING else self._show(value, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __reversed__(self) -> Iterator[str]:
        keys: Iterator[str] = reversed(self._read())
        return keys

    def keys(self) -> KeysView[str]:
        """As `dict.keys`."""
        return KeysView(self)

    def values(self) -> ValuesView[Any]:
        """As `dict.values`."""
        return ValuesView(self)

    def items(self) -> ItemsView[str, Any]:
        """As `dict.items`."""
        return ItemsView(self)

    def __setitem__(self, key: str, value: Any) -> None:
        path = self._place()
        if type(key) is not str or not key.isascii():
            check_key(path, key)
        target = self._target
        self._recorder.put(target, key, (*path, key), target.get(key, MISSING), value)

    def __delitem__(self, key: str) -> None:
        path, target = self._place(), self._target
        old = target[key]
        recorder = self._recorder
        recorder.undo.append((UNSET, target, key, old))
        del target[key]
        recorder.ops.append((REMOVE, (*path, key)))

    def pop(self, key: str, default: Any = MISSING) -> Any:
        """As `dict.pop`; a container comes as a plain copy."""
        self._place()
        if key not in self._target and default is not MISSING:
            return default
        value = copy_value(self._target[key])
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """As `dict.popitem`; a container comes as a plain copy."""
        self._place()
        for key in reversed(self._target):
            return key, self.pop(key)
        raise KeyError("popitem(): dictionary is empty")

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As `dict.setdefault`."""
        self._place()
        if key not in self._target:
            self[key] = default
        return self[key]

    def update(self, other: Any = (), /, **values: Any) -> None:
        """As `dict.update`; where one value is unsupported, nothing changes."""
        path, target, recorder = self._place(), self._target, self._recorder
        taken = {}
        for key, value in dict(other, **values).items():
            check_key(path, key)
            if unwrap(value) is not target.get(key, MISSING):
                taken[key] = recorder.take(value, (*path, key))
        for key, (copied, packed) in taken.items():
            recorder.put_taken(target, key, (*path, key), target.get(key, MISSING), copied, packed)

    def clear(self) -> None:
        """As `dict.clear`."""
        path, target, recorder = self._place(), self._target, self._recorder
        if target:
            recorder.undo.append((REFILL, target, target.copy()))
            target.clear()
            recorder.ops.append((SET, path, {}))

    def __or__(self, other: Any) -> dict[str, Any]:
        return dict(self) | dict(other)

    def __ror__(self, other: Any) -> dict[str, Any]:
        return dict(other) | dict(self)

    def __ior__(self, other: Any) -> MapView:
        self.update(other)
        return self


MutableMapping.register(MapView)

VIEWS: dict[type, type[View]] = {dict: MapView}
"""The view for each type of container; list and set register theirs."""


def check_key(path: Place, key: Any) -> None:
    """`UnsupportedValue` where a map of a state cannot have this key."""
    if type(key) is not str:
        where = format_path(path)
        raise UnsupportedValue(f"{where} cannot have a key of type {type(key).__name__}", path)
    try:
        check_text(key)
    except Refused as error:
        raise UnsupportedValue(f"{format_path(path)}: a key is {error.reason}", path) from None


def unwrap(value: Any) -> Any:
    """What a view shows, itself; any other value as it is."""
    return value._read() if isinstance(value, View) else value


def unwrap_deep(value: Any, level: int = 0) -> Any:
    """A value without views anywhere in it; what holds some is built anew.

    Raises `Refused` where it is nested deeper than any state.
    """
    value = unwrap(value)
    kind = type(value)
    if kind in _PLAIN or kind is set:
        return value
    if level > MAX_DEPTH:
        raise Refused(TOO_DEEP)
    if kind is dict:
        return {key: unwrap_deep(item, level + 1) for key, item in value.items()}
    if kind is list or kind is tuple:
        return kind(unwrap_deep(item, level + 1) for item in value)
    return value


def unwrap_all(values: Iterable[Any]) -> list[Any]:
    """The values of any iterable, each without its view."""
    return [unwrap(value) for value in unwrap(values)]


def _frozen(value: Any) -> bool:
    """Whether a tuple, and all that it holds, cannot change."""
    return all(type(item) in _PLAIN or (type(item) is tuple and _frozen(item)) for item in value)
