"""The audit: what was detected, decided and done, and what came of it, in the order of events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headwater.clock import wall_ms
from headwater.config import Config
from headwater.fleet.feed import Feed, Sender, Sent, decoded
from headwater.fleet.records import AuditRecord


def audit(
    sender: Sender,
    actor: str,
    action: str,
    component: str,
    *,
    failure_id: str = "",
    message: str = "",
    detail: Mapping[str, Any] | None = None,
    reason: str = "",
) -> Sent:
    """Write a record of the audit, without waiting for it; the names are those of the schema."""
    record = AuditRecord(
        at=wall_ms(),
        actor=actor,
        action=action,
        component=component,
        failure_id=failure_id,
        message=message,
        detail=dict(detail or {}),
        reason=reason,
    )
    return sender.send("audit", failure_id or component, record)


def read_audit(config: Config, since_ms: int | None = None) -> Iterator[AuditRecord]:
    """All of the audit up to now, oldest first; from ``since_ms`` (since 1970) on, where given."""
    feed = Feed(config, "audit", "beginning" if since_ms is None else since_ms)
    try:
        for message in feed.read_all():
            record = decoded(AuditRecord, message)
            if record is not None:
                yield record
    finally:
        feed.close()
