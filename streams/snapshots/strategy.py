"""Which snapshot an agent gets next: a full one, an increment, or increments merged into one.

A strategy is a pure function of the sizes in the agent's chain, so it can be tried on recorded
sizes without a Kafka. What it decides changes bytes and reading time, never the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headwater.errors import ConfigError
from headwater.log.snapshots import Pointer
from headwater.recovery.predict import RECORD_BYTES, TYPICAL, Rates, Reading, records_of

__all__ = [
    "FULL",
    "INCREMENT",
    "RECORD_BYTES",
    "STRATEGIES",
    "Budget",
    "ChainLength",
    "Decision",
    "Outweigh",
    "Strategy",
    "make_strategy",
    "newest",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A full snapshot, or an increment that also takes in the ``merge`` newest of the chain."""

    full: bool = False
    merge: int = 0


FULL = Decision(full=True)
INCREMENT = Decision()


class Strategy(Protocol):
    """Decides from the agent's chain (a full snapshot, then increments) and the payload bytes
    and changes of what is new. It is only asked where there is a chain.
    """

    def decide(self, chain: Sequence[Pointer], new_bytes: int, new_changes: int) -> Decision:
        """What to write next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainLength:
    """A full snapshot once the chain has more than ``longest`` increments or more than ``share``
    of the last full one's bytes changed at once; else an increment.
    """

    longest: int = 10
    share: float = 0.5

    def decide(self, chain: Sequence[Pointer], new_bytes: int, new_changes: int) -> Decision:
        """What to write next."""
        too_long = len(chain) - 1 > self.longest
        return FULL if too_long or new_bytes > self.share * chain[0].size else INCREMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Outweigh:
    """A full snapshot once the increments outweigh ``factor`` times the last one; until then
    increments, of which the newest are merged when the chain would get too long.

    A merge takes in the newest increments for as long as the next older one has at most ``ratio``
    times the bytes gathered so far, and ``least`` at any rate. So sizes grow geometrically towards
    the old end, and a byte is rewritten a logarithmic number of times.

    The defaults are from the recorded runs, one commit after every change: 0.88 of the bytes of
    the events kept, 2.2 times them written, 11 records at most to read (15 increments and a factor
    of 3 write 10 % less, and a recovery reads half as much again).
    """

    factor: float = 2.0
    increments: int = 10
    ratio: float = 2.0
    least: int = 4

    def decide(self, chain: Sequence[Pointer], new_bytes: int, new_changes: int) -> Decision:
        """What to write next."""
        sizes = [p.size + RECORD_BYTES for p in chain]
        new = new_bytes + RECORD_BYTES
        if sum(sizes[1:]) + new > self.factor * sizes[0]:
            return FULL
        if len(sizes) <= self.increments:
            return INCREMENT
        return Decision(merge=newest(sizes[1:], new, self.ratio, self.least))


def newest(sizes: Sequence[int], new: int, ratio: float = 2.0, least: int = 4) -> int:
    """How many of the last ``sizes`` to merge with ``new``; see :class:`Outweigh`."""
    gathered, count = new, 0
    for size in reversed(sizes):
        if count >= least and size > ratio * gathered:
            break
        gathered += size
        count += 1
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Keeps the time that reading the chain back is predicted to take within ``rto_ms``, and
    writes as little as it can beside that.

    An increment, while the chain with it stays within the budget and has at most ``increments``
    of them. Beyond that the newest are merged, for as long as the next older one has at most
    ``ratio`` times the bytes gathered so far; where that is not enough, ``least`` of them or as
    many more as it takes, unless that has more than ``share`` of the last full one's bytes: then
    a full one. So a long budget makes hardly any full ones, a short one keeps chains short.

    A state whose full snapshot alone is over the budget cannot be helped: ``otherwise`` decides.
    ``rates`` are those of one recovery; the tail behind the chain comes on top of it.
    """

    rto_ms: float
    rates: Rates = TYPICAL
    increments: int = 64
    ratio: float = 2.0
    least: int = 4
    share: float = 0.5
    otherwise: Strategy = Outweigh()

    def decide(self, chain: Sequence[Pointer], new_bytes: int, new_changes: int) -> Decision:
        """What to write next."""
        sizes = [pointer.size for pointer in chain]
        if not self.fits(sizes[:1]):
            return self.otherwise.decide(chain, new_bytes, new_changes)
        if len(sizes) <= self.increments and self.fits([*sizes, new_bytes]):
            return INCREMENT
        weights, new = [size + RECORD_BYTES for size in sizes[1:]], new_bytes + RECORD_BYTES
        growing = newest(weights, new, self.ratio, 0)
        if growing and self.fits(_merged(sizes, growing, new_bytes)):
            return Decision(merge=growing)
        # What goes beyond that is written again soon: never much beside a full one.
        for merge in range(newest(weights, new, self.ratio, self.least), len(sizes)):
            merged = _merged(sizes, merge, new_bytes)
            if merge == 0 or merged[-1] > self.share * sizes[0]:
                break
            if self.fits(merged):
                return Decision(merge=merge)
        return FULL

    def fits(self, sizes: Sequence[int]) -> bool:
        """Whether reading a chain of such payloads is predicted to take no longer than the budget.

        A payload that is stored in several records counts as that many.
        """
        reading = Reading(
            records=sum(map(records_of, sizes)),
            size_bytes=sum(sizes) + RECORD_BYTES * len(sizes),
        )
        return self.rates.seconds(reading) * 1000 <= self.rto_ms


def _merged(sizes: Sequence[int], merge: int, new_bytes: int) -> list[int]:
    """The sizes once the last ``merge`` are one with what is new."""
    kept = len(sizes) - merge
    return [*sizes[:kept], sum(sizes[kept:]) + new_bytes]


STRATEGIES = ("outweigh", "chain-length", "budget")


def make_strategy(name: str, *, rto_ms: float | None = None, rates: Rates = TYPICAL) -> Strategy:
    """The strategy called ``name``, with its own defaults.

    ``budget`` needs ``rto_ms``, above 0, which means nothing to the others, and takes ``rates``.
    :class:`ConfigError` for no such strategy, and for a budget too many or too few.
    """
    if name not in STRATEGIES:
        raise ConfigError(f"strategy {name!r} is none of {', '.join(STRATEGIES)}")
    if (name == "budget") != (rto_ms is not None):
        raise ConfigError("the strategy 'budget' needs rto_ms, and no other takes it")
    if rto_ms is not None:
        if not rto_ms > 0:
            raise ConfigError(f"rto_ms must be above 0, not {rto_ms:g}")
        return Budget(rto_ms=rto_ms, rates=rates)
    return Outweigh() if name == "outweigh" else ChainLength()
