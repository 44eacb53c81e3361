"""An agent's snapshots as chains, and which versions they lead to."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .model import HELD, Stored
from .ranges import Range, union


@dataclass(slots=True)
class Chain:
    """What begins at one version: the record that begins it (None where that is gone, or not
    there yet), and all increments from there up to where the next one begins.
    """

    begin: Stored | None
    increments: list[Stored] = field(default_factory=list)

    @property
    def records(self) -> list[Stored]:
        """All of it."""
        return [*([self.begin] if self.begin else []), *self.increments]

    def steps(self) -> dict[int, tuple[Stored, ...]]:
        """The whole records that lead to each version at which one ends."""
        if self.begin is None:
            return {}
        found: dict[int, tuple[Stored, ...]] = {self.begin.to_version: (self.begin,)}
        # Versions only grow, so whatever leads to the start of an increment comes before it. The
        # longer of two that start alike replaced the other: what it led to goes on.
        for inc in sorted(self.increments, key=lambda r: (r.from_version, -r.to_version)):
            before = found.get(inc.from_version)
            if before is not None and inc.to_version not in found:
                found[inc.to_version] = (*before, inc)
        return found

    def path(self, version: int) -> tuple[Stored, ...]:
        """The records that lead to ``version``, of which the last may lead beyond; empty where
        these records alone do not.
        """
        steps = self.steps()
        if version in steps:
            return steps[version]
        for inc in self.increments:
            if inc.exact and inc.from_version < version <= inc.to_version:
                before = steps.get(inc.from_version)
                if before is not None:
                    return (*before, inc)
        return ()

    def versions(self) -> list[Range]:
        """The versions that these records alone lead to."""
        steps = self.steps()
        found = [(version, version) for version in steps]
        found += [
            (inc.from_version, inc.to_version)
            for inc in self.increments
            if inc.exact and inc.from_version in steps
        ]
        return union(found)


def chains_of(records: Iterable[Stored]) -> list[Chain]:
    """The chains of one agent, oldest first; those that have lost their beginning among them.

    Versions tell them apart: an increment belongs to the last chain that begins at or before the
    version that it starts from. For the one that ends a chain leads to the version at which the
    next begins, and starts before it.
    """
    mine = [r for r in records if r.begins or r.increments]
    begins = sorted((r for r in mine if r.begins), key=lambda r: r.from_version)
    starts = [r.from_version for r in begins]
    chains = [Chain(begin) for begin in begins]
    lost = Chain(None)
    for inc in (r for r in mine if r.increments):
        place = bisect_right(starts, inc.from_version) - 1
        (chains[place] if place >= 0 else lost).increments.append(inc)
    return [lost, *chains] if lost.increments else chains


def redundant(chain: Chain) -> dict[str, Stored]:
    """Increments by key, each with one that holds all that it does, and more."""
    found = {}
    widest: Sequence[Stored] = sorted(
        chain.increments, key=lambda r: (r.from_version, -r.to_version)
    )
    cover: Stored | None = None
    for inc in widest:
        if cover is not None and inc.to_version <= cover.to_version:
            found[inc.key] = cover
        else:
            cover = inc
    return found


def held(records: Iterable[Stored]) -> dict[int, Stored]:
    """The states that checkpoints hold by themselves, by version."""
    return {r.to_version: r for r in records if r.kind == HELD}
