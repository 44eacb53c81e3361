"""The failures of one partition that wait for their recovery: in order of arrival for each
component, components side by side. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from headwater.fleet.records import FailureEvent

from .limits import Waiting


@dataclass(slots=True)
class Queued:
    """A failure that waits. ``cleared``: it was over before anything was done."""

    failure: FailureEvent
    offset: int
    cleared: bool = False


@dataclass(slots=True)
class Queues:
    """The failures that wait, and the offsets that must be read again if this handler dies."""

    _waiting: dict[str, deque[Queued]] = field(default_factory=dict)
    _by_id: dict[str, Queued] = field(default_factory=dict)
    _held: dict[int, str] = field(default_factory=dict)

    def add(self, failure: FailureEvent, offset: int) -> None:
        """Have a failure wait for its turn."""
        queued = Queued(failure, offset)
        self._waiting.setdefault(failure.component, deque()).append(queued)
        self._by_id[failure.failure_id] = queued
        self._held[offset] = failure.failure_id

    def find(self, failure_id: str) -> Queued | None:
        """A failure that waits."""
        return self._by_id.get(failure_id)

    def heads(self, busy: Collection[str]) -> Iterator[tuple[Waiting, Queued]]:
        """The first of each component that has no recovery under way."""
        for component, queue in self._waiting.items():
            if component not in busy and queue:
                first = queue[0]
                yield (
                    Waiting(
                        component=component,
                        severity=first.failure.severity,
                        number=first.offset,
                    ),
                    first,
                )

    def take(self, queued: Queued) -> None:
        """A failure's turn has come."""
        component = queued.failure.component
        self._waiting[component].remove(queued)
        if not self._waiting[component]:
            del self._waiting[component]
        del self._by_id[queued.failure.failure_id]

    def hold(self, offset: int, failure_id: str) -> None:
        """A record must be read again as long as its failure's recovery has not ended."""
        self._held[offset] = failure_id

    def release(self, failure_id: str) -> None:
        """Nothing about a failure needs to be read again."""
        self._held = {at: each for at, each in self._held.items() if each != failure_id}

    def next_offset(self, read: int) -> int:
        """Where a successor has to begin, ``read`` being the offset behind what was read."""
        return min(self._held, default=read)

    def __len__(self) -> int:
        return len(self._by_id)
