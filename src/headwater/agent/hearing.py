"""When each process was last heard of, for those who wait for a lease to run out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headwater.clock import Clock, suspended_clock
from headwater.config import Config
from headwater.fleet.pulse import Beat, Pulse

_KEPT = 10_000


class Hearing:
    """What one thread hears of heartbeats, for any thread to ask.

    A process that was not heard of counts as heard of when listening began: it may have beaten
    right before that.
    """

    def __init__(self, clock: Clock = suspended_clock) -> None:
        self._since_s = clock()
        self._last: dict[bytes, float] = {}
        self._positions: dict[int, int] = {}

    def hear(self, beats: Iterable[Beat], positions: Mapping[int, int]) -> None:
        """Take in what was read, and how far that is, by partition of heartbeats."""
        for beat in beats:
            if beat.record.kind == "BEAT":
                self._last[beat.record.incarnation] = beat.read_s
        if len(self._last) > _KEPT:
            self._forget()
        # Last, so that whoever sees a position sees all heartbeats below it.
        self._positions = dict(positions)

    def last_s(self, incarnation: bytes) -> float:
        """When the process's last heartbeat was read, on the lease's clock."""
        return self._last.get(incarnation, self._since_s)

    def reached(self, partition: int, offset: int) -> bool:
        """Whether all heartbeats of a partition through ``offset`` have been heard."""
        return self._positions.get(partition, -1) > offset

    def _forget(self) -> None:
        # Those that are gone for longest. Forgetting makes nobody look longer silent than it is:
        # nothing waits for leases that long.
        kept = sorted(self._last.items(), key=lambda item: item[1])[_KEPT // 2 :]
        self._since_s = max(self._since_s, kept[0][1])
        self._last = dict(kept)


class Listener:
    """A hearing of one's own, for a caller that waits and listens in one thread."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.hearing = Hearing(clock)
        self._pulse = Pulse(config, clock)

    def listen(self, timeout_s: float) -> None:
        """Hear what comes, waiting up to ``timeout_s`` for something."""
        beats = self._pulse.read(timeout_s)
        self.hearing.hear(beats, self._pulse.positions)

    def close(self) -> None:
        """Stop listening."""
        self._pulse.close()
