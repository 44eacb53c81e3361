"""Disjoint sets, for the components of a graph.

Source: Tarjan and van Leeuwen, "Worst-case analysis of set union algorithms", 1984: union by size,
path halving. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable


class UnionFind:
    """Sets of names that are joined as one finds out that they belong together."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}
        self._size = dict.fromkeys(self._parent, 1)

    def find(self, name: str) -> str:
        """The one name that stands for the set that holds ``name``."""
        parent = self._parent
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def union(self, one: str, other: str) -> None:
        """Join the sets of two names."""
        one, other = self.find(one), self.find(other)
        if one == other:
            return
        if self._size[one] < self._size[other]:
            one, other = other, one
        self._parent[other] = one
        self._size[one] += self._size[other]

    def sets(self) -> list[frozenset[str]]:
        """The sets, the largest first; of equal ones that with the smallest name."""
        found: dict[str, set[str]] = {}
        for name in self._parent:
            found.setdefault(self.find(name), set()).add(name)
        return sorted(map(frozenset, found.values()), key=lambda s: (-len(s), min(s)))
