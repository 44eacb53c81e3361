"""Which snapshot an agent gets next: a full one, an increment, or increments merged into one.

A strategy is a pure function of the sizes in the agent's chain, so it can be tried on recorded
sizes without a Kafka. What it decides changes bytes and reading time, never the state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headwater.errors import ConfigError
from headwater.log.snapshots import Pointer

RECORD_BYTES = 350
"""About what a snapshot record adds to its payload: key, hashes, checksum, names."""


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


STRATEGIES: dict[str, Callable[[], Strategy]] = {"outweigh": Outweigh, "chain-length": ChainLength}


def make_strategy(name: str) -> Strategy:
    """The strategy called ``name``, with its own defaults; :class:`ConfigError` for no such one."""
    if name not in STRATEGIES:
        raise ConfigError(f"strategy {name!r} is none of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]()
