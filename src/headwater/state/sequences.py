"""The views of lists and sets; see `headwater.state.views`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableSequence, MutableSet
from operator import index as as_index
from typing import Any

from msgspec import Raw

from headwater.state.patch import APPEND, READD, REFILL, REMOVE, SPLICE, UNADD, UNSPLICE
from headwater.state.values import SCALARS, copy_value, pack
from headwater.state.views import VIEWS, View, unwrap, unwrap_all


class ListView(View):
    """A list inside the document."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        target = self._read()
        if isinstance(index, slice):
            return [self._show(target[i], i) for i in range(*index.indices(len(target)))]
        value = target[index]
        if type(value) in SCALARS:
            return value
        index = as_index(index)
        return self._show(value, index if index >= 0 else index + len(target))

    def __iter__(self) -> Iterator[Any]:
        index = 0
        while index < len(target := self._read()):
            yield self._show(target[index], index)
            index += 1

    def __reversed__(self) -> Iterator[Any]:
        for index in range(len(self._read()) - 1, -1, -1):
            if index < len(target := self._read()):
                yield self._show(target[index], index)

    def index(self, value: Any, *bounds: int) -> int:
        """As `list.index`."""
        return int(self._read().index(unwrap(value), *bounds))

    def count(self, value: Any) -> int:
        """As `list.count`."""
        return int(self._read().count(unwrap(value)))

    def append(self, value: Any) -> None:
        """As `list.append`."""
        path, target, recorder = self._place(), self._target, self._recorder
        size = len(target)
        copied, packed = recorder.take(value, (*path, size))
        recorder.undo.append((UNSPLICE, target, size, 1, ()))
        target.append(copied)
        recorder.ops.append((APPEND, path, Raw(packed)))

    def extend(self, values: Iterable[Any]) -> None:
        """As `list.extend`; where one value is unsupported, nothing changes."""
        items = unwrap_all(values)
        size = len(self._read())
        if len(items) == 1:
            self.append(items[0])
        else:
            self._splice(size, size, items)

    def insert(self, index: int, value: Any) -> None:
        """As `list.insert`."""
        start, _, _ = slice(as_index(index), None).indices(len(self._read()))
        self._splice(start, start, [value])

    def __setitem__(self, index: Any, value: Any) -> None:
        path, target = self._place(), self._target
        if not isinstance(index, slice):
            old = target[index]
            index = as_index(index)
            index = index if index >= 0 else index + len(target)
            self._recorder.put(target, index, (*path, index), old, value)
            return
        items = unwrap_all(value)
        start, stop, step = index.indices(len(target))
        if step == 1:
            self._splice(start, max(start, stop), items)
            return
        changed = target.copy()
        changed[index] = items
        self._splice(0, len(target), changed)

    def __delitem__(self, index: Any) -> None:
        path, target, recorder = self._place(), self._target, self._recorder
        if isinstance(index, slice):
            start, stop, step = index.indices(len(target))
            if step == 1:
                self._splice(start, max(start, stop), [])
            else:
                for i in sorted(range(start, stop, step), reverse=True):
                    del self[i]
            return
        old = target[index]
        index = as_index(index)
        index = index if index >= 0 else index + len(target)
        recorder.undo.append((UNSPLICE, target, index, 0, (old,)))
        del target[index]
        recorder.ops.append((REMOVE, (*path, index)))

    def pop(self, index: int = -1) -> Any:
        """As `list.pop`; a container comes as a plain copy."""
        self._place()
        if not self._target:
            raise IndexError("pop from empty list")
        value = copy_value(self._target[index])
        del self[index]
        return value

    def remove(self, value: Any) -> None:
        """As `list.remove`."""
        del self[self.index(value)]

    def clear(self) -> None:
        """As `list.clear`."""
        self._splice(0, len(self._read()), [])

    def reverse(self) -> None:
        """As `list.reverse`."""
        self._reorder(self._read()[::-1])

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """As `list.sort`; the key function gets views of containers."""
        target = self._read()
        if key is None:
            ordered = sorted(target, reverse=reverse)
        else:
            keys = [key(item) for item in self]
            order = sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)
            ordered = [target[i] for i in order]
        self._reorder(ordered)

    def __iadd__(self, values: Any) -> ListView:
        self.extend(values)
        return self

    def __imul__(self, times: int) -> ListView:
        if times < 1:
            self.clear()
        else:
            self.extend(self._read() * (as_index(times) - 1))
        return self

    def __add__(self, other: Any) -> Any:
        return list(self) + (list(other) if isinstance(other, ListView) else other)

    def __radd__(self, other: Any) -> list[Any]:
        return list(other) + list(self)

    def __mul__(self, times: int) -> list[Any]:
        return list(self) * times

    __rmul__ = __mul__

    def _splice(self, start: int, stop: int, items: list[Any]) -> None:
        """Replace ``[start:stop]`` by the items; what stands there already stays where it is."""
        path, target, recorder = self._place(), self._target, self._recorder
        old = target[start:stop]
        head, tail = common_ends(old, items)
        new, old = items[head : len(items) - tail], old[head : len(old) - tail]
        if not new and not old:
            return
        start += head
        copied, packed = recorder.take_items(new, path, start)
        recorder.undo.append((UNSPLICE, target, start, len(copied), old))
        target[start : start + len(old)] = copied
        recorder.ops.append((SPLICE, path, start, len(old), Raw(packed)))

    def _reorder(self, ordered: list[Any]) -> None:
        """Put the same items in another order: none of them is copied, views of them stay good."""
        path, target, recorder = self._place(), self._target, self._recorder
        size = len(target)
        if all(map(_identical, target, ordered)):
            return
        packed = pack(ordered, path)
        recorder.undo.append((UNSPLICE, target, 0, size, target.copy()))
        target[:] = ordered
        recorder.ops.append((SPLICE, path, 0, size, Raw(packed)))


class SetView(View):
    """A set inside the document; its elements cannot change, so they come as they are."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._read())

    def add(self, element: Any) -> None:
        """As `set.add`."""
        path, target, recorder = self._place(), self._target, self._recorder
        if element not in target:
            pack({element}, path)
            recorder.undo.append((UNADD, target, element))
            target.add(element)
            recorder.record_set(path, target)

    def discard(self, element: Any) -> None:
        """As `set.discard`."""
        self._place()
        if element in self._target:
            self.remove(element)

    def remove(self, element: Any) -> None:
        """As `set.remove`."""
        path, target, recorder = self._place(), self._target, self._recorder
        if element not in target:
            raise KeyError(element)
        own = element
        if type(element) is not str:
            # The set's own element may be of another type: True takes out 1.
            (own,) = (item for item in target if item is element or item == element)
        target.remove(element)
        recorder.undo.append((READD, target, own))
        recorder.record_set(path, target)

    def pop(self) -> Any:
        """As `set.pop`."""
        path, target, recorder = self._place(), self._target, self._recorder
        element = target.pop()
        recorder.undo.append((READD, target, element))
        recorder.record_set(path, target)
        return element

    def clear(self) -> None:
        """As `set.clear`."""
        self._change(set.clear)

    def update(self, *others: Iterable[Any]) -> None:
        """As `set.update`."""
        self._change(set.update, *others)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """As `set.intersection_update`."""
        self._change(set.intersection_update, *others)

    def difference_update(self, *others: Iterable[Any]) -> None:
        """As `set.difference_update`."""
        self._change(set.difference_update, *others)

    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        """As `set.symmetric_difference_update`."""
        self._change(set.symmetric_difference_update, other)

    def __ior__(self, other: Any) -> SetView:
        return self._change(set.__ior__, other)

    def __iand__(self, other: Any) -> SetView:
        return self._change(set.__iand__, other)

    def __isub__(self, other: Any) -> SetView:
        return self._change(set.__isub__, other)

    def __ixor__(self, other: Any) -> SetView:
        return self._change(set.__ixor__, other)

    def _change(self, method: Callable[..., Any], *others: Any) -> SetView:
        path, target, recorder = self._place(), self._target, self._recorder
        before = target.copy()
        try:
            if method(target, *map(unwrap, others)) is NotImplemented:
                raise TypeError(f"not a set: {type(others[0]).__name__}")
            packed = pack(target, path)
        except BaseException:
            target.clear()
            target.update(before)
            raise
        if packed != pack(before, path):
            recorder.undo.append((REFILL, target, before))
            recorder.record_set(path, target)
        return self

    def __or__(self, other: Any) -> Any:
        return self._plain() | unwrap(other)

    def __and__(self, other: Any) -> Any:
        return self._plain() & unwrap(other)

    def __sub__(self, other: Any) -> Any:
        return self._plain() - unwrap(other)

    def __xor__(self, other: Any) -> Any:
        return self._plain() ^ unwrap(other)

    __ror__ = __or__
    __rand__ = __and__
    __rxor__ = __xor__

    def __rsub__(self, other: Any) -> set[Any]:
        return set(other) - self._plain()

    def union(self, *others: Iterable[Any]) -> set[Any]:
        """As `set.union`."""
        return self._plain().union(*others)

    def intersection(self, *others: Iterable[Any]) -> set[Any]:
        """As `set.intersection`."""
        return self._plain().intersection(*others)

    def difference(self, *others: Iterable[Any]) -> set[Any]:
        """As `set.difference`."""
        return self._plain().difference(*others)

    def symmetric_difference(self, other: Iterable[Any]) -> set[Any]:
        """As `set.symmetric_difference`."""
        return self._plain().symmetric_difference(other)

    def issubset(self, other: Iterable[Any]) -> bool:
        """As `set.issubset`."""
        return self._plain().issubset(other)

    def issuperset(self, other: Iterable[Any]) -> bool:
        """As `set.issuperset`."""
        return self._plain().issuperset(other)

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        """As `set.isdisjoint`."""
        return self._plain().isdisjoint(other)

    def _plain(self) -> set[Any]:
        target: set[Any] = self._read()
        return target


MutableSequence.register(ListView)
MutableSet.register(SetView)
VIEWS[list] = ListView
VIEWS[set] = SetView


def common_ends(old: list[Any], new: list[Any]) -> tuple[int, int]:
    """How many items at the start, and how many at the end, are the very same in both lists."""
    limit = min(len(old), len(new))
    head = 0
    while head < limit and old[head] is new[head]:
        head += 1
    limit -= head
    tail = 0
    while tail < limit and old[-1 - tail] is new[-1 - tail]:
        tail += 1
    return head, tail


def _identical(one: Any, other: Any) -> bool:
    return one is other
