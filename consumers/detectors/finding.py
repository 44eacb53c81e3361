"""What a detector says: that something is wrong, as long as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from headwater.fleet.records import DEFAULT_SEVERITY, FailureEvent, FailureType, Severity
from headwater.log.chain import partition_of
from headwater.topics import HEARTBEATS

SUBJECT = "subject"

Topic = tuple[FailureType, str, str]
"""What failures are about: type, component, subject. One of each is open at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong with ``component`` now.

    ``mark`` is what tells this episode from others of the same component, and stands in the log:
    no clock and no name of the detector, so that whoever finds it gives it the same id. Of one
    type, component and ``subject`` (what of the component it is about) one failure at a time is
    open. ``first_symptom_at`` is in milliseconds since 1970.
    """

    type: FailureType
    component: str
    mark: tuple[str, ...]
    description: str
    first_symptom_at: int
    context: dict[str, Any] = field(default_factory=dict)
    severity: Severity | None = None
    subject: str = ""

    @property
    def failure_id(self) -> str:
        """32 hexadecimal digits."""
        parts = (self.type.value, self.component, self.subject, *self.mark)
        return sha256("\0".join(parts).encode()).hexdigest()[:32]

    @property
    def topic(self) -> Topic:
        """What it is about: the same for the next episode."""
        return self.type, self.component, self.subject

    def event(self, now_ms: int, detected_by: str) -> FailureEvent:
        """The record of it."""
        return FailureEvent(
            failure_id=self.failure_id,
            type=self.type,
            severity=self.severity or DEFAULT_SEVERITY[self.type],
            component=self.component,
            description=self.description,
            context=self.context | ({SUBJECT: self.subject} if self.subject else {}),
            first_symptom_at=self.first_symptom_at,
            detected_at=now_ms,
            detected_by=detected_by,
        )


def topic_of(event: FailureEvent) -> Topic:
    """What a failure in the log is about, as :attr:`Finding.topic`."""
    return event.type, event.component, str(event.context.get(SUBJECT, ""))


def place_of(component: str, agents_partitions: int) -> int:
    """The partition of heartbeats whose owner reports what is wrong with a component.

    A node's own; for an agent one that follows from the partition of its events, so that who audits
    these reports it; and of anything else the one that its name makes.
    """
    kind, _, name = component.partition(":")
    places = HEARTBEATS.partitions or 1
    if kind == "agent":
        return partition_of(name.encode(), agents_partitions) % places
    return partition_of((name if kind == "node" else component).encode(), places)
