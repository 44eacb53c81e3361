"""When the compactor makes a checkpoint by itself, so that an agent that hangs gets one, too.

Such a checkpoint is a record alone: an event of it in the agent's log would have to extend the
chain, and so would shut out the owner's next change.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from headwater.errors import ChangeRejected, ConfigError, UndecodableRecord
from headwater.log.notes import CheckpointType
from headwater.state.patch import SET, decode_patch

TRIGGERS = ("time", "state", "step", "hybrid", "off")

_STATUS, _STEP = b"\xa6status", b"\xa4step"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPolicy:
    """``trigger``: "time" (every ``interval`` in which the agent changed), "state" (its status
    changed), "step" (its step reached a multiple of ``every_steps``), "hybrid" (any of these), or
    "off".
    """

    trigger: str = "time"
    interval: timedelta = timedelta(minutes=5)
    every_steps: int = 10

    def __post_init__(self) -> None:
        if self.trigger not in TRIGGERS:
            raise ConfigError(f"trigger {self.trigger!r} is none of {', '.join(TRIGGERS)}")
        if self.interval <= timedelta(0):
            raise ConfigError(f"the interval of checkpoints must be positive, not {self.interval}")
        if self.every_steps < 1:
            raise ConfigError(f"every_steps must be at least 1, not {self.every_steps}")

    @property
    def interval_ms(self) -> int | None:
        """Milliseconds between checkpoints by time; None where time does not trigger them."""
        if self.trigger not in ("time", "hybrid"):
            return None
        return round(self.interval.total_seconds() * 1000)

    @property
    def looks_at_changes(self) -> bool:
        """Whether :meth:`at_change` can ever say yes."""
        return self.trigger in ("state", "step", "hybrid")

    def at_change(self, patch: bytes) -> CheckpointType | None:
        """The checkpoint that a change calls for, from its patch alone; None for no one."""
        if _STATUS not in patch and _STEP not in patch:
            return None
        try:
            ops = decode_patch(patch)
        except (UndecodableRecord, ChangeRejected):
            return None
        found = None
        for op in ops:
            if not _sets_field(op):
                continue
            field, value = op[1][0], op[2]
            if field == "step" and self.trigger != "state" and self._is_milestone(value):
                return CheckpointType.MILESTONE
            if field == "status" and self.trigger != "step":
                found = CheckpointType.AUTOMATIC
        return found

    def _is_milestone(self, step: object) -> bool:
        return type(step) is int and step > 0 and step % self.every_steps == 0


def _sets_field(op: object) -> bool:
    # What nobody has applied yet can be any value at all.
    return (
        type(op) is tuple
        and len(op) == 3
        and type(op[0]) is int
        and op[0] == SET
        and type(op[1]) is list
        and len(op[1]) == 1
    )


OFF = CheckpointPolicy(trigger="off")


class Schedule:
    """Which agents are due for a checkpoint by time. Milliseconds since 1970 throughout."""

    def __init__(self, interval_ms: int | None) -> None:
        self._interval_ms = interval_ms
        self._heap: list[tuple[int, bytes]] = []
        self._waiting: set[bytes] = set()

    def changed(self, key: bytes, last_ms: int) -> None:
        """The agent ``key`` changed since its last checkpoint, at ``last_ms``."""
        if self._interval_ms is not None and key not in self._waiting:
            self._waiting.add(key)
            heapq.heappush(self._heap, (last_ms + self._interval_ms, key))

    def due(self, now_ms: int) -> Iterator[bytes]:
        """The agents whose time has come; each is told once."""
        while self._heap and self._heap[0][0] <= now_ms:
            _, key = heapq.heappop(self._heap)
            self._waiting.discard(key)
            yield key
