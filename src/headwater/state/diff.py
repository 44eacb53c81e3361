"""The patch that turns one document into another, for callers who only have whole states.

Lists are aligned by the elements that occur once in each (patience diff), so that what was added,
dropped at the front or edited in place is found without comparing every element with every other:
O(n log n). The patch is correct whatever the alignment, and merely larger where it is poor.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import Any

from headwater.errors import UnsupportedValue
from headwater.state.model import FIELDS, Document, wrong_type
from headwater.state.patch import APPEND, REMOVE, SET, SPLICE, TEXT, TEXT_FROM, Op
from headwater.state.values import canonical, same

Place = tuple[Any, ...]
Pair = tuple[int, int]


def diff(base: Document, current: Document) -> list[Op]:
    """Operations that make ``current`` of ``base`` when they are applied to it.

    Exact in every value and type; only the order of keys may differ. The operations hold values of
    ``current`` itself: encode them before changing it. Raises `UnsupportedValue`, naming the place,
    where ``current`` holds what no state can.
    """
    ops: list[Op] = []
    for name in FIELDS:
        if reason := wrong_type(name, current[name]):
            raise UnsupportedValue(reason, (name,))
        if canonical(current[name], (name,)) != canonical(base[name], (name,)):
            _diff(ops, (name,), base[name], current[name])
    return ops


def _diff(ops: list[Op], path: Place, old: Any, new: Any) -> None:
    kind = type(old)
    if kind is not type(new):
        ops.append((SET, path, new))
    elif kind is dict:
        _diff_dict(ops, path, old, new)
    elif kind is list:
        _diff_list(ops, path, old, new)
    elif kind is str and _grows(old, new):
        if len(new) > len(old):
            ops.append((TEXT, path, new[len(old) :]))
    elif not same(old, new):
        ops.append((SET, path, new))


def _grows(old: str, new: str) -> bool:
    return len(old) >= TEXT_FROM and new.startswith(old)


def _diff_dict(ops: list[Op], path: Place, old: dict[str, Any], new: dict[str, Any]) -> None:
    if old.keys().isdisjoint(new):
        if old or new:
            ops.append((SET, path, new))
        return
    ops.extend((REMOVE, (*path, key)) for key in old if key not in new)
    for key, value in new.items():
        if key in old:
            _diff(ops, (*path, key), old[key], value)
        else:
            ops.append((SET, (*path, key), value))


def _diff_list(ops: list[Op], path: Place, old: list[Any], new: list[Any]) -> None:
    """Operations on a list, from its end to its start, so that indexes stay as they are in ``old``.

    ``runs`` are the matching pairs of places, with one before the start and one behind the end.
    """
    old_keys, new_keys = list(map(canonical, old)), list(map(canonical, new))
    head, tail = _ends(old_keys, new_keys)
    old_end, new_end = len(old) - tail, len(new) - tail
    pairs = _anchors(old_keys[head:old_end], new_keys[head:new_end])
    runs = [(-1, -1), *pairs, (old_end - head, new_end - head)]
    for (i, j), (i_next, j_next) in reversed(list(pairwise(runs))):
        start, stop = head + i + 1, head + i_next
        new_start, new_stop = head + j + 1, head + j_next
        more, less = _ends(old_keys[start:stop], new_keys[new_start:new_stop])
        gap = old[start + more : stop - less]
        _diff_gap(ops, path, start + more, gap, new[new_start + more : new_stop - less], len(old))


def _diff_gap(
    ops: list[Op], path: Place, start: int, old: list[Any], new: list[Any], size: int
) -> None:
    """Operations on a stretch of a list in which no element is the same in both.

    Its first elements are compared with one another as long as they are alike; the rest is
    replaced. ``size`` is the length of the whole old list.
    """
    alike = 0
    while alike < min(len(old), len(new)) and _alike(old[alike], new[alike]):
        alike += 1
    index, count, values = start + alike, len(old) - alike, new[alike:]
    if count == 0 and len(values) == 1 and index == size:
        ops.append((APPEND, path, values[0]))
    elif count or values:
        ops.append((SPLICE, path, index, count, values))
    for i in range(alike):
        _diff(ops, (*path, start + i), old[i], new[i])


def _alike(old: Any, new: Any) -> bool:
    """Whether the second may be an edited first: worth a patch of its own."""
    if type(old) is not type(new):
        return False
    if type(old) is dict:
        return any(key in new and same(value, new[key]) for key, value in old.items())
    return type(old) is list or (type(old) is str and _grows(old, new))


def _ends(old: list[bytes], new: list[bytes]) -> Pair:
    """How many are equal at the start, and how many of the others at the end."""
    limit = min(len(old), len(new))
    head = 0
    while head < limit and old[head] == new[head]:
        head += 1
    limit -= head
    tail = 0
    while tail < limit and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return head, tail


def _anchors(old: list[bytes], new: list[bytes]) -> list[Pair]:
    """Places of elements that occur once in each: the longest row of pairs that rises in both."""
    if not old or not new:
        return []
    where_old, where_new = _once(old), _once(new)
    pairs = [(i, where_new[key]) for key, i in where_old.items() if key in where_new]
    # Longest increasing subsequence: the pile tops rise, and each pair points to its predecessor.
    tops: list[int] = []
    top_pairs: list[int] = []
    before: list[int] = []
    for n, (_, j) in enumerate(pairs):
        pile = bisect_left(tops, j)
        before.append(top_pairs[pile - 1] if pile else -1)
        tops[pile : pile + 1] = [j]
        top_pairs[pile : pile + 1] = [n]
    row = []
    n = top_pairs[-1] if top_pairs else -1
    while n >= 0:
        row.append(pairs[n])
        n = before[n]
    return row[::-1]


def _once(keys: list[bytes]) -> dict[bytes, int]:
    """The place of each element that occurs once, in their order."""
    places: dict[bytes, int] = {}
    twice = set()
    for i, key in enumerate(keys):
        if key in places:
            twice.add(key)
        places[key] = i
    return {key: i for key, i in places.items() if key not in twice}
