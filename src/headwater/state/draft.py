"""Drafts: an agent changes its state through views, and every change is recorded as it is made.

Nothing is compared and nothing long is copied: a change costs what is put in, not what is there.
The document is changed in place, and `Recorder.rollback` takes all of it back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast, overload

import msgspec

from headwater.errors import ChangeRejected, UnsupportedValue, format_path
from headwater.state.model import FIELDS, Document, wrong_type
from headwater.state.patch import REMOVE, SET, SPLICE, TEXT, TEXT_FROM, UNSET, Undo, roll_back
from headwater.state.sequences import ListView, SetView, common_ends
from headwater.state.special import Refused
from headwater.state.values import SCALARS, copy_and_pack, copy_value, pack
from headwater.state.views import VIEWS, MapView, Place, View, check_key, unwrap, unwrap_deep

__all__ = ["ListView", "MapView", "Recorder", "SetView", "StateView", "plain", "read_only"]

ENDED = "this state was used after its change ended; begin another with agent.change()"
READ_ONLY = "this state can only be read; use agent.change() to change it"

T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode
_Raw = msgspec.Raw


class Recorder:
    """One change in the making: the document, what has been done to it, and how to undo that.

    It is not for several threads at once. With a ``refusal`` its views can only be read: a try to
    change something raises `ChangeRejected` with that text.
    """

    __slots__ = ("_late", "_view", "closed", "document", "ops", "refusal", "undo")

    def __init__(self, document: Document, refusal: str | None = None) -> None:
        self.document = document
        self.refusal = refusal
        self.closed = False
        self.ops: list[Any] = []
        self.undo: Undo = []
        self._late = False
        self._view: StateView | None = None

    @property
    def view(self) -> StateView:
        """The state, to be read and changed."""
        if self._view is None:
            self._view = StateView(self)
        return self._view

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been changed."""
        return not self.ops

    def patch(self) -> bytes:
        """The packed patch of what has been done so far; see `headwater.state.patch`."""
        if self._late:
            for i, op in enumerate(self.ops):
                if type(op) is list:
                    self.ops[i] = (SET, op[1], _Raw(pack(op[2], op[1])))
            self._late = False
        return _encode(self.ops)

    def rollback(self) -> None:
        """Take back all that has been done; only the order of keys may differ from before."""
        roll_back(self.undo)
        self.ops.clear()
        self._late = False

    def reset(self) -> None:
        """Keep what has been done and begin another change, with the same views.

        Reopens a recorder that was closed; saves about a microsecond over making a new one.
        """
        self.ops.clear()
        self.undo.clear()
        self._late = self.closed = False
        self.refusal = None

    def close(self) -> None:
        """End the change: until `reset`, every view of it raises `ChangeRejected`."""
        self.refusal = ENDED
        self.closed = True

    # What follows is for the views.

    def take(self, value: Any, place: Place) -> tuple[Any, bytes]:
        """A deep copy of a value, views in it or not, and its packed form."""
        try:
            return copy_and_pack(value, place)
        except UnsupportedValue:
            try:
                unwrapped = unwrap_deep(value)
            except Refused as error:
                message = f"{format_path(place)} cannot be kept: {error.reason}"
                raise UnsupportedValue(message, place) from None
            if unwrapped is value:
                raise
        return copy_and_pack(unwrapped, place)

    def take_items(self, items: list[Any], path: Place, index: int) -> tuple[list[Any], bytes]:
        """`take` for items that are to stand in a list from ``index`` on."""
        try:
            return self.take(items, path)
        except UnsupportedValue:
            for i, item in enumerate(items, start=index):
                self.take(item, (*path, i))
            raise

    def put(self, container: Any, key: Any, place: Place, old: Any, value: Any) -> None:
        """Set ``container[key]``, which stands at ``place`` and was ``old``, to a copy."""
        kind = type(value)
        if kind in SCALARS:
            if kind is str and type(old) is str:
                if value.startswith(old) and self._grow(container, key, place, old, value):
                    return
            elif value is old:
                return
        elif kind is type(old):
            share = _SHARING.get(kind)
            if share is not None and share(self, container, key, place, old, value):
                return
        elif isinstance(value, View) and unwrap(value) is old:
            # `state.data["list"] += [1]` ends by assigning the view that it has just changed.
            return
        try:
            copied, packed = copy_and_pack(value, place)
        except UnsupportedValue:
            copied, packed = self.take(value, place)
        self.undo.append((UNSET, container, key, old))
        container[key] = copied
        self.ops.append((SET, place, _Raw(packed)))

    def _grow(self, container: Any, key: Any, place: Place, old: str, value: str) -> bool:
        """Set a text that begins with the old one; False where it is better set as a whole."""
        if len(value) == len(old):
            return True
        if len(old) < TEXT_FROM:
            return False
        packed = pack(value[len(old) :], place)
        self.undo.append((UNSET, container, key, old))
        container[key] = value
        self.ops.append((TEXT, place, _Raw(packed)))
        return True

    def put_taken(
        self, container: Any, key: Any, place: Place, old: Any, copied: Any, packed: bytes
    ) -> None:
        """Like `put`, with what `take` returned."""
        self.undo.append((UNSET, container, key, old))
        container[key] = copied
        self.ops.append((SET, place, _Raw(packed)))

    def record_set(self, path: Place, target: set[Any]) -> None:
        """Note that a set has changed; it is packed once, with the patch.

        Later changes of the same set may already show in it then, which does no harm: what ends up
        at each place is the same, for nothing else that is recorded depends on the elements.
        """
        last = self.ops[-1] if self.ops else None
        if type(last) is not list or last[2] is not target or last[1] != path:
            self.ops.append([SET, path, target])
            self._late = True


# `state.messages = state.messages[-20:]` and `state.data = {**state.data, "k": 1}` name what was
# there before: it stays where it is, and only the difference is recorded.


def _share_list(
    recorder: Recorder, container: Any, key: Any, place: Place, old: list[Any], value: list[Any]
) -> bool:
    """Assign a list with parts of the old one at its start or end; False where there are none."""
    items = [unwrap(item) for item in value]
    head, tail = common_ends(old, items)
    if head + tail == 0:
        return False
    stop = len(old) - tail
    copied, packed = recorder.take_items(items[head : len(items) - tail], place, head)
    recorder.undo.append((UNSET, container, key, old))
    container[key] = old[:head] + copied + old[stop:]
    if copied or head < stop:
        recorder.ops.append((SPLICE, place, head, stop - head, _Raw(packed)))
    return True


def _share_dict(
    recorder: Recorder,
    container: Any,
    key: Any,
    place: Place,
    old: dict[str, Any],
    value: dict[Any, Any],
) -> bool:
    """Assign a dict with entries of the old one; False where there are none."""
    items = {name: unwrap(item) for name, item in value.items()}
    kept = {name for name, item in items.items() if name in old and old[name] is item}
    if not kept:
        return False
    changed = {}
    for name, item in items.items():
        if name not in kept:
            check_key(place, name)
            items[name], changed[name] = recorder.take(item, (*place, name))
    recorder.undo.append((UNSET, container, key, old))
    container[key] = items
    recorder.ops.extend((REMOVE, (*place, name)) for name in old if name not in items)
    recorder.ops.extend((SET, (*place, name), _Raw(packed)) for name, packed in changed.items())
    return True


_SHARING: dict[type, Callable[..., bool]] = {list: _share_list, dict: _share_dict}


class _Field(Generic[T]):
    """A field of the state: read and assigned, containers as views."""

    __slots__ = ("name",)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, state: None, owner: type) -> _Field[T]: ...

    @overload
    def __get__(self, state: StateView, owner: type) -> T: ...

    def __get__(self, state: StateView | None, owner: type) -> T | _Field[T]:
        if state is None:
            return self
        recorder = state._recorder
        if recorder.closed:
            raise ChangeRejected(recorder.refusal)
        name = self.name
        value = recorder.document[name]
        view = state._views.get(name)
        if view is not None and view._target is value:
            return cast("T", view)
        if type(value) in SCALARS:
            return cast("T", value)
        kind = VIEWS.get(type(value))
        if kind is None:
            return cast("T", copy_value(value))
        view = state._views[name] = kind(recorder, value, (name,), None)
        return cast("T", view)

    def __set__(self, state: StateView, value: Any) -> None:
        recorder, name = state._recorder, self.name
        if recorder.refusal is not None:
            raise ChangeRejected(recorder.refusal)
        if reason := wrong_type(name, unwrap(value)):
            raise UnsupportedValue(reason, (name,))
        document = recorder.document
        recorder.put(document, name, (name,), document[name], value)


class StateView:
    """An agent's state as the agent sees it: its fields, to be read and, in a change, assigned."""

    __slots__ = ("_recorder", "_views")

    session_id: _Field[str] = _Field()
    request_id: _Field[str | None] = _Field()
    status: _Field[str] = _Field()
    step: _Field[int] = _Field()
    max_steps: _Field[int | None] = _Field()
    task: _Field[Any] = _Field()
    data: _Field[MapView] = _Field()
    messages: _Field[ListView] = _Field()
    execution_history: _Field[ListView] = _Field()
    tool_contexts: _Field[MapView] = _Field()
    metadata: _Field[MapView] = _Field()

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._views: dict[str, View] = {}

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in FIELDS)
        return f"StateView({fields})"


def read_only(document: Document, refusal: str = READ_ONLY) -> StateView:
    """The state that a document holds, to be read only; it follows the document's changes."""
    return Recorder(document, refusal).view


def plain(value: Any) -> Any:
    """A plain deep copy of a view, of a whole state (as a dict of its fields), or of any value."""
    if isinstance(value, StateView):
        return {name: plain(getattr(value, name)) for name in FIELDS}
    return copy_value(unwrap_deep(value))
