"""How many recoveries may begin, and which first: pure, time is passed in.

A failure that causes others, or a detector gone wild, must not have its recoveries do more harm
than the failure. So recoveries begin at a bounded rate, of the fleet and of each component; the
more severe come first, and of those the older. The less severe ones, of which there may be many at
once, leave half of the rate and three quarters of the places to the others: that a hundred steps
are late must not hold up the agents of a node that died.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headwater.fleet.records import Severity

_RANK = {Severity.CRITICAL: 0, Severity.HIGH: 1, Severity.MEDIUM: 2, Severity.LOW: 3}
_MINOR = frozenset({Severity.MEDIUM, Severity.LOW})
_FORGET = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many at once, and from then on one every ``every_s`` seconds."""

    burst: int
    every_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds the recoveries of one handler. ``at_once`` is how many may be under way."""

    fleet: Rate = field(default_factory=lambda: Rate(burst=50, every_s=0.2))
    component: Rate = field(default_factory=lambda: Rate(burst=5, every_s=20.0))
    at_once: int = 64


@dataclass(slots=True)
class Bucket:
    """A token bucket: full at first, and filled at a rate."""

    rate: Rate
    tokens: float
    at_s: float

    @classmethod
    def full(cls, rate: Rate, now_s: float) -> Bucket:
        """A bucket that was not used lately."""
        return cls(rate, float(rate.burst), now_s)

    def level(self, now_s: float) -> float:
        """How many tokens are in it."""
        filled = self.tokens + max(0.0, now_s - self.at_s) / self.rate.every_s
        return min(float(self.rate.burst), filled)

    def take(self, now_s: float) -> None:
        """Take a token; only where :meth:`level` is at least 1."""
        self.tokens, self.at_s = self.level(now_s) - 1.0, now_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A recovery that could begin. ``number`` counts them in the order in which they came."""

    component: str
    severity: Severity
    number: int

    @property
    def rank(self) -> tuple[int, int]:
        """Smaller comes first."""
        return _RANK[self.severity], self.number


class Admission:
    """Decides which recoveries begin now."""

    def __init__(self, limits: Limits, now_s: float) -> None:
        self._limits = limits
        self._fleet = Bucket.full(limits.fleet, now_s)
        self._components: dict[str, Bucket] = {}

    def admit(
        self, waiting: Iterable[Waiting], running: Sequence[Severity], now_s: float
    ) -> list[Waiting]:
        """Those that begin now, in the order in which they are to, where recoveries of these
        severities are under way.
        """
        admitted: list[Waiting] = []
        under_way = list(running)
        for each in sorted(waiting, key=lambda w: w.rank):
            if not self._room(each.severity, under_way, now_s):
                break
            bucket = self._bucket(each.component, now_s)
            if bucket.level(now_s) < 1:
                continue
            bucket.take(now_s)
            self._fleet.take(now_s)
            admitted.append(each)
            under_way.append(each.severity)
        return admitted

    def _room(self, severity: Severity, under_way: Sequence[Severity], now_s: float) -> bool:
        at_once, spare = self._limits.at_once, 0
        if severity in _MINOR:
            if sum(each in _MINOR for each in under_way) >= max(1, at_once // 4):
                return False
            spare = self._limits.fleet.burst // 2
        return len(under_way) < at_once and self._fleet.level(now_s) >= 1 + spare

    def _bucket(self, component: str, now_s: float) -> Bucket:
        if component not in self._components:
            if len(self._components) >= _FORGET:
                burst = self._limits.component.burst
                self._components = {
                    name: b for name, b in self._components.items() if b.level(now_s) < burst
                }
            self._components[component] = Bucket.full(self._limits.component, now_s)
        return self._components[component]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOff:
    """How long a node that failed again and again is given no agents: not at all for its first
    failure within ``window_s``, ``first_s`` after its second, twice as long after each further one.
    """

    first_s: float = 10.0
    longest_s: float = 900.0
    window_s: float = 3600.0

    def held_s(self, failures_ms: Iterable[int], now_ms: int) -> float:
        """For how many more seconds a node that failed at these times (milliseconds since 1970)
        is held back; 0.0 where it is not.
        """
        since = now_ms - self.window_s * 1000
        lately = sorted(at for at in failures_ms if since < at <= now_ms)
        if len(lately) < 2:
            return 0.0
        held_s = min(self.longest_s, self.first_s * 2.0 ** min(len(lately) - 2, 32))
        return max(0.0, held_s - (now_ms - lately[-1]) / 1000)
