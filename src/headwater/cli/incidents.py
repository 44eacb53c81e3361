"""What the fleet's topics tell of failures, put together: one incident for each failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from headwater.cli.output import utc
from headwater.errors import PointNotFound
from headwater.fleet.records import (
    AuditRecord,
    Escalation,
    EscalationStatus,
    FailureEvent,
    RecoveryResult,
    RecoveryStatus,
    Severity,
)

if TYPE_CHECKING:
    from headwater.config import Config

T = TypeVar("T")

WAITING = "WAITING"
"""The status of a failure that no handler has taken up yet."""
CLEARED = "CLEARED"
"""The status of one that was over before a handler took it up."""

_OVER = frozenset({RecoveryStatus.SUCCEEDED, RecoveryStatus.SKIPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A failure, what was done about it, and who has it now."""

    failure_id: str
    failure: FailureEvent | None = None
    outcome: RecoveryResult | None = None
    escalation: Escalation | None = None

    @property
    def _told(self) -> FailureEvent | RecoveryResult:
        told = self.failure or self.outcome
        assert told is not None
        return told

    @property
    def type(self) -> str:
        """What kind of failure."""
        return self._told.type.value

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return self._told.severity

    @property
    def component(self) -> str:
        """What failed."""
        return self._told.component

    @property
    def description(self) -> str:
        """One sentence for a person."""
        if self.failure is not None:
            return self.failure.description
        return self.outcome.message if self.outcome is not None else ""

    @property
    def first_symptom_at(self) -> int:
        """When it began, in milliseconds since 1970."""
        if self.failure is not None:
            return self.failure.first_symptom_at
        return 0 if self.outcome is None else self.outcome.started_at

    @property
    def detected_at(self) -> int:
        """When it was detected, in milliseconds since 1970."""
        if self.failure is not None:
            return self.failure.detected_at
        return 0 if self.outcome is None else self.outcome.started_at

    @property
    def cleared(self) -> bool:
        """Whether the detectors have seen it end."""
        return self.failure is not None and self.failure.resolved

    @property
    def status(self) -> str:
        """How far its recovery came."""
        if self.outcome is not None:
            return self.outcome.status.value
        return CLEARED if self.cleared else WAITING

    @property
    def escalated(self) -> str:
        """Who has its escalation; empty where there is none."""
        return "" if self.escalation is None else self.escalation.status.value

    @property
    def open(self) -> bool:
        """Whether something is still to be done, by automation or by a person."""
        if self.escalation is not None and self.escalation.status is not EscalationStatus.RESOLVED:
            return True
        return self.status != CLEARED and self.status not in _OVER

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        outcome = self.outcome
        return {
            "failure_id": self.failure_id,
            "type": self.type,
            "severity": self.severity.value,
            "component": self.component,
            "description": self.description,
            "context": {} if self.failure is None else self.failure.context,
            "first_symptom_at": utc(self.first_symptom_at),
            "detected_at": utc(self.detected_at),
            "detected_by": "" if self.failure is None else self.failure.detected_by,
            "cleared": self.cleared,
            "status": self.status,
            "open": self.open,
            "strategy": "" if outcome is None else outcome.strategy,
            "attempts": 0 if outcome is None else outcome.attempt,
            "message": "" if outcome is None else outcome.message,
            "error": "" if outcome is None else outcome.error,
            "started_at": None if outcome is None else utc(outcome.started_at),
            "finished_at": utc(outcome.finished_at) if outcome and outcome.finished_at else None,
            "handled_by": "" if outcome is None else outcome.handled_by,
            "metrics": {} if outcome is None else outcome.metrics,
            "agents": [] if outcome is None else [item.to_record() for item in outcome.items],
            "escalation": None if self.escalation is None else escalation_json(self.escalation),
        }


def escalation_json(escalation: Escalation) -> dict[str, Any]:
    """An escalation as commands print it."""
    return {
        "status": escalation.status.value,
        "message": escalation.message,
        "by": escalation.by,
        "note": escalation.note,
        "opened_at": utc(escalation.opened_at),
        "updated_at": utc(escalation.updated_at),
        "tried": escalation.tried,
    }


def read_incidents(config: Config) -> list[Incident]:
    """All incidents that the log still has, the newest first."""
    failures = {f.failure_id: f for f in _read(config, "recovery", FailureEvent)}
    outcomes = {r.failure_id: r for r in _read(config, "outcomes", RecoveryResult)}
    escalations = {e.failure_id: e for e in _read(config, "escalations", Escalation)}
    found = [
        Incident(
            failure_id=each,
            failure=failures.get(each),
            outcome=outcomes.get(each),
            escalation=escalations.get(each),
        )
        for each in failures.keys() | outcomes.keys()
    ]
    return sorted(found, key=lambda i: (i.detected_at, i.failure_id), reverse=True)


def _read(config: Config, topic: str, cls: Callable[..., T]) -> Iterator[T]:
    from headwater.fleet.feed import Feed, decoded

    feed = Feed(config, topic)
    try:
        for message in feed.read_all():
            record: T | None = decoded(cls, message)
            if record is not None:
                yield record
    finally:
        feed.close()


def find(incidents: Iterable[Incident], wanted: str) -> Incident:
    """The incident whose id begins so. Raises :class:`PointNotFound` where there is none, or more
    than one.
    """
    found = [each for each in incidents if each.failure_id.startswith(wanted)]
    if not found:
        raise PointNotFound(f"no failure has an id that begins with {wanted!r}")
    if len(found) > 1:
        names = ", ".join(each.failure_id[:16] for each in found[:5])
        raise PointNotFound(f"{len(found)} failures have ids that begin with {wanted!r}: {names}")
    return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One line of a timeline; ``after_ms`` since the first symptom."""

    at: int
    after_ms: int
    actor: str
    action: str
    message: str
    detail: dict[str, Any]
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {
            "at": utc(self.at),
            "after_ms": self.after_ms,
            "actor": self.actor,
            "action": self.action,
            "message": self.message,
            "detail": self.detail,
            "reason": self.reason,
        }


def timeline(incident: Incident, records: Iterable[AuditRecord]) -> list[Moment]:
    """What happened, from the first symptom to the last action: the audit's records of a failure,
    in the order in which they reached the log.

    A record that a handler wrote twice, since it died before it knew that the first was written,
    is told once.
    """
    began = incident.first_symptom_at
    found = [
        Moment(
            at=began,
            after_ms=0,
            actor="",
            action="first.symptom",
            message=incident.description,
            detail={} if incident.failure is None else incident.failure.context,
        )
    ]
    told: set[tuple[str, int, str, str]] = set()
    for each in records:
        key = (each.actor, each.at, each.action, each.message)
        if each.failure_id == incident.failure_id and key not in told:
            told.add(key)
            found.append(
                Moment(
                    at=each.at,
                    after_ms=each.at - began,
                    actor=each.actor,
                    action=each.action,
                    message=each.message,
                    detail=each.detail,
                    reason=each.reason,
                )
            )
    return found
