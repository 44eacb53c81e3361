"""Sets of versions, as ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Range = tuple[int, int]
"""First and last version, both in it."""


def union(ranges: Iterable[Range]) -> list[Range]:
    """The same versions in ascending ranges that neither overlap nor touch."""
    found: list[Range] = []
    for low, high in sorted(r for r in ranges if r[0] <= r[1]):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def minus(left: Sequence[Range], right: Sequence[Range]) -> list[Range]:
    """What is in ``left`` and not in ``right``; both as :func:`union` gives them."""
    found: list[Range] = []
    for low, high in left:
        for start, end in right:
            if end < low or start > high:
                continue
            if start > low:
                found.append((low, start - 1))
            low = end + 1
        if low <= high:
            found.append((low, high))
    return found


def count(ranges: Iterable[Range]) -> int:
    """How many versions are in ranges that do not overlap."""
    return sum(high - low + 1 for low, high in ranges)
