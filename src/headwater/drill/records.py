"""Drills in the audit: one record for each that was held."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.config import Config
from headwater.drill.model import Report
from headwater.fleet.audit import audit, read_audit
from headwater.fleet.feed import Sender

FINISHED = "drill.finished"


def keep(config: Config, report: Report, actor: str, reason: str = "") -> None:
    """Write a report to the audit, and wait until it is there."""
    sender = Sender(config)
    try:
        sender.settle(
            audit(
                sender,
                actor,
                FINISHED,
                f"node:{report.node_id}" if report.node_id else "fleet",
                failure_id=report.failure_ids[0] if report.failure_ids else "",
                message=summary(report),
                detail=report.to_json(),
                reason=reason,
            )
        )
    finally:
        sender.close()


def kept(config: Config, since_ms: int | None = None) -> Iterator[Report]:
    """The reports in the audit, oldest first."""
    for record in read_audit(config, since_ms):
        if record.action == FINISHED:
            report = Report.from_json(record.detail)
            if report is not None:
                yield report


def summary(report: Report) -> str:
    """A report in one sentence."""
    if report.problems:
        return f"drill {report.kind}: missed: {'; '.join(report.problems)}"
    return (
        f"drill {report.kind}: detected after {report.detected_ms:.0f} ms, recovered after "
        f"{report.recovered_ms:.0f} ms, of {report.changes} changes none lost"
    )
