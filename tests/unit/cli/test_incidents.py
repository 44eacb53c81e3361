"""Incidents and their timelines, from what the topics tell."""

from __future__ import annotations

import pytest

from headwater.cli.incidents import Incident, find, timeline
from headwater.errors import PointNotFound
from headwater.fleet.records import (
    AuditRecord,
    Escalation,
    EscalationStatus,
    FailureEvent,
    FailureType,
    RecoveryResult,
    RecoveryStatus,
    Severity,
)

FAILURE = FailureEvent(
    failure_id="abc1",
    type=FailureType.NODE_FAILURE,
    severity=Severity.HIGH,
    component="node:a",
    description="it is silent",
    first_symptom_at=1_000,
    detected_at=1_600,
    detected_by="d",
)


def outcome(status: RecoveryStatus) -> RecoveryResult:
    """What was done about it."""
    return RecoveryResult(
        failure_id="abc1",
        type=FailureType.NODE_FAILURE,
        severity=Severity.HIGH,
        component="node:a",
        strategy="node-failure",
        status=status,
        started_at=1_700,
    )


def escalation(status: EscalationStatus) -> Escalation:
    """Who has it."""
    return Escalation(
        failure_id="abc1",
        type=FailureType.NODE_FAILURE,
        severity=Severity.HIGH,
        component="node:a",
        message="start a node",
        status=status,
        opened_at=1_800,
    )


@pytest.mark.parametrize(
    ("incident", "status", "is_open"),
    [
        (Incident(failure_id="abc1", failure=FAILURE), "WAITING", True),
        (
            Incident(
                failure_id="abc1",
                failure=FailureEvent.from_record({**FAILURE.to_record(), "resolved": True}),
            ),
            "CLEARED",
            False,
        ),
        (Incident(failure_id="abc1", outcome=outcome(RecoveryStatus.RUNNING)), "RUNNING", True),
        (Incident(failure_id="abc1", outcome=outcome(RecoveryStatus.SKIPPED)), "SKIPPED", False),
        (
            Incident(
                failure_id="abc1",
                outcome=outcome(RecoveryStatus.SUCCEEDED),
                escalation=escalation(EscalationStatus.ACKNOWLEDGED),
            ),
            "SUCCEEDED",
            True,
        ),
        (
            Incident(
                failure_id="abc1",
                outcome=outcome(RecoveryStatus.SUCCEEDED),
                escalation=escalation(EscalationStatus.RESOLVED),
            ),
            "SUCCEEDED",
            False,
        ),
    ],
)
def test_an_incident_is_open_as_long_as_somebody_has_to_act(
    incident: Incident, status: str, is_open: bool
) -> None:
    """Automation, or a person."""
    assert (incident.status, incident.open) == (status, is_open)
    shown = incident.to_json()
    assert (shown["component"], shown["type"]) == ("node:a", "NODE_FAILURE")


def record(at: int, action: str, failure_id: str = "abc1") -> AuditRecord:
    """A line of the audit."""
    return AuditRecord(
        at=at, actor="strategy:s", action=action, component="node:a", failure_id=failure_id
    )


def test_a_timeline_begins_with_the_first_symptom_and_follows_the_log() -> None:
    """In the log's order, whatever the writers' clocks say; other failures are left out."""
    incident = Incident(failure_id="abc1", failure=FAILURE)
    records = [
        record(1_600, "failure.detected"),
        record(1_700, "recovery.begun"),
        record(1_700, "recovery.begun"),
        record(1_650, "recovery.begun", "other"),
        record(1_690, "step.begun"),
    ]
    found = timeline(incident, records)
    assert [(m.action, m.after_ms) for m in found] == [
        ("first.symptom", 0),
        ("failure.detected", 600),
        ("recovery.begun", 700),
        ("step.begun", 690),
    ]


def test_an_incident_is_found_by_how_its_id_begins() -> None:
    """If there is exactly one."""
    some = [Incident(failure_id=name, failure=FAILURE) for name in ("abc1", "abd2")]
    assert find(some, "abc").failure_id == "abc1"
    with pytest.raises(PointNotFound, match="2 failures"):
        find(some, "ab")
    with pytest.raises(PointNotFound, match="no failure"):
        find(some, "x")
