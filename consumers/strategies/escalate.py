"""Tells people of failures: the record in ``escalations``, and every notifier."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

from headwater.clock import wall_ms
from headwater.errors import HeadwaterError
from headwater.fleet.audit import audit
from headwater.fleet.feed import Sender
from headwater.fleet.records import Escalation, EscalationStatus, RecoveryResult

from .journal import RECEIVED, Journal
from .notify import Notifier
from .world import World

log = logging.getLogger("headwater.strategies")


class Escalator:
    """Opens and closes escalations. Safe for use by several threads."""

    def __init__(
        self, sender: Sender, world: World, notifiers: Sequence[Notifier], node_id: str
    ) -> None:
        self._sender = sender
        self._world = world
        self._notifiers = notifiers
        self._by = f"strategy:{node_id}"

    def open(self, journal: Journal, message: str, *, wait: bool = True) -> None:
        """Write that a person has to act, with all that was tried, and tell everybody; without
        ``wait`` the recovery goes on meanwhile. Done again, it brings the record up to date; an
        acknowledgement stays.
        """
        result = journal.result
        known = self._world.escalation(result.failure_id)
        ours = (
            known if known is not None and known.status is not EscalationStatus.RESOLVED else None
        )
        now = wall_ms()
        escalation = Escalation(
            failure_id=result.failure_id,
            type=result.type,
            severity=result.severity,
            component=result.component,
            message=message,
            tried=attempts_of(result),
            status=EscalationStatus.OPEN if ours is None else ours.status,
            by=self._by if ours is None else ours.by,
            note="" if ours is None else ours.note,
            opened_at=now if ours is None else ours.opened_at,
            updated_at=now,
        )
        journal.audit("escalated", message, {"attempts": result.attempt})
        self._put(journal, escalation, wait=wait)

    def close(self, journal: Journal, message: str) -> None:
        """Write that automation has put a failure right after all, where it was open."""
        known = self._world.escalation(journal.result.failure_id)
        if known is None or known.status is EscalationStatus.RESOLVED:
            return
        closed = Escalation(
            failure_id=known.failure_id,
            type=known.type,
            severity=known.severity,
            component=known.component,
            message=message,
            tried=attempts_of(journal.result),
            status=EscalationStatus.RESOLVED,
            by=self._by,
            note=known.note,
            opened_at=known.opened_at,
            updated_at=wall_ms(),
        )
        journal.audit("escalation.closed", message)
        self._put(journal, closed, wait=False)

    def tell_later(self, escalation: Escalation, *, again: bool = False) -> None:
        """Tell every notifier, in a thread of its own: some take long, or are not there. With
        ``again`` only those whose news end if nobody repeats them.
        """
        to = [n for n in self._notifiers if n.repeats] if again else list(self._notifiers)
        threading.Thread(target=self._tell, args=(escalation, to), daemon=True).start()

    def _tell(self, escalation: Escalation, to: Sequence[Notifier]) -> None:
        for notifier in to:
            problem = ""
            try:
                notifier.notify(escalation)
            except HeadwaterError as error:
                log.error("escalation %s: %s", escalation.failure_id, error)
                problem = str(error)
            try:
                self._note(escalation, notifier.name, problem)
            except HeadwaterError as error:
                log.warning("escalation %s: not in the audit: %s", escalation.failure_id, error)

    def _note(self, escalation: Escalation, name: str, problem: str) -> None:
        self._sender.settle(
            audit(
                self._sender,
                self._by,
                "notify.failed" if problem else "notified",
                escalation.component,
                failure_id=escalation.failure_id,
                message=problem or f"{name}: {escalation.status}",
                detail={"notifier": name},
            )
        )

    def _put(self, journal: Journal, escalation: Escalation, *, wait: bool) -> None:
        journal.settle()
        self._sender.put("escalations", escalation.failure_id, escalation)
        if wait:
            self._tell(escalation, self._notifiers)
        else:
            self.tell_later(escalation)


def attempts_of(result: RecoveryResult) -> list[dict[str, Any]]:
    """What was tried, attempt by attempt, each with its steps and what came of it."""
    found: dict[int, dict[str, Any]] = {}
    for step in result.steps:
        number, _, name = step.name.partition(".")
        if step.name == RECEIVED or not number.isdigit():
            continue
        attempt = found.setdefault(int(number), {"attempt": int(number), "steps": []})
        if name == "result":
            attempt |= step.detail
        else:
            attempt["steps"].append(step.to_record() | {"detail": step.detail})
    return [found[number] for number in sorted(found)]
