"""What a recovery has done so far, in the log: each step before it is taken, and once it was.

The record in ``outcomes`` is the only memory of a recovery. Whoever goes on after a handler died
reads it, takes no step again that is DONE, and takes one that was BEGUN as it was recorded, with
the choices that were made then: whatever of it has been done already is not done twice, for
commands have ids that follow from the step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from headwater.clock import wall_ms
from headwater.errors import RetryableError, Unavailable
from headwater.fleet.audit import audit
from headwater.fleet.feed import Sender, Sent
from headwater.fleet.records import (
    FailureEvent,
    RecoveryItem,
    RecoveryResult,
    RecoveryStatus,
    RecoveryStep,
    StepState,
)

RECEIVED = "received"
CLEARED = "cleared"
# Beyond that a record would outgrow a message; those that failed come first.
_ITEMS = 2500


class Unrecorded(Unavailable):
    """What a recovery does next could not be written down, so it is not done now."""


class Journal:
    """One recovery's record. Safe for use by several threads."""

    def __init__(
        self,
        sender: Sender,
        result: RecoveryResult,
        *,
        node_id: str,
        clock: Callable[[], int] = wall_ms,
    ) -> None:
        self._sender = sender
        self._node_id = node_id
        self._clock = clock
        self._lock = threading.RLock()
        self._unsettled: list[Sent] = []
        self._missing = False
        self.result = msgspec.structs.replace(result, handled_by=node_id)

    def step(self, name: str) -> RecoveryStep | None:
        """A step as it was recorded, or None."""
        with self._lock:
            return next((each for each in self.result.steps if each.name == name), None)

    def begin(self, name: str, detail: Mapping[str, Any]) -> RecoveryStep:
        """Record a step that is about to be taken, and wait until that, and all before it, is in
        the log. One that was recorded before is returned as it was then.
        """
        with self._lock:
            known = self.step(name)
            if known is None or known.state is StepState.FAILED:
                known = RecoveryStep(
                    name=name, state=StepState.BEGUN, began_at=self._clock(), detail=dict(detail)
                )
                self._put_step(known)
                self.write()
                self.audit("step.begun", f"begins {name}", {"step": name, **detail})
            elif self._missing:
                self.write()
        self.settle()
        return known

    def end(self, name: str, detail: Mapping[str, Any], error: str = "") -> None:
        """Record what came of a step; it is in the log by the next :meth:`settle`."""
        with self._lock:
            known = self.step(name)
            now = self._clock()
            self._put_step(
                RecoveryStep(
                    name=name,
                    state=StepState.FAILED if error else StepState.DONE,
                    began_at=now if known is None else known.began_at,
                    ended_at=now,
                    detail=dict(detail),
                )
            )
            self.write()
            said = f"{name} failed: {error}" if error else f"{name} done"
            what = {"step": name, **detail, **({"error": error} if error else {})}
            self.audit("step.failed" if error else "step.done", said, what)

    def note(self, name: str, detail: Mapping[str, Any]) -> None:
        """Add a step that is done by being known; it is in the log with whatever follows."""
        with self._lock:
            if self.step(name) is None:
                now = self._clock()
                done = RecoveryStep(
                    name=name, state=StepState.DONE, began_at=now, ended_at=now, detail=dict(detail)
                )
                self._put_step(done)

    def update(self, **fields: Any) -> None:
        """Change fields of the record; they are in the log with whatever follows."""
        with self._lock:
            if "items" in fields:
                fields["items"] = bounded(fields["items"])
            self.result = msgspec.structs.replace(self.result, **fields)

    def write(self) -> None:
        """Send the record as it is now."""
        with self._lock:
            r = self.result
            self._unsettled.append(self._sender.send("outcomes", r.failure_id, r, by=r.component))

    def audit(self, action: str, message: str, detail: Mapping[str, Any] | None = None) -> None:
        """Write to the audit; it is there by the next :meth:`settle`."""
        with self._lock:
            sent = audit(
                self._sender,
                f"strategy:{self._node_id}",
                action,
                self.result.component,
                failure_id=self.result.failure_id,
                message=message,
                detail=detail,
            )
            self._unsettled.append(sent)

    def settle(self) -> None:
        """Wait until everything so far is in the log. Raises :class:`Unrecorded`."""
        with self._lock:
            waiting, self._unsettled = self._unsettled, []
        try:
            self._sender.settle(*waiting)
        except RetryableError as error:
            self._missing = True
            raise Unrecorded(f"recovery {self.result.failure_id}: {error}") from error
        self._missing = False

    def finish(self, status: RecoveryStatus, message: str, error: str = "") -> None:
        """Record how it ended. The audit of it comes first: it must not be missing."""
        self.audit(
            "recovery.finished",
            f"{status}: {message}",
            {"status": status, "error": error, "metrics": self.result.metrics},
        )
        self.settle()
        with self._lock:
            self.update(status=status, message=message, error=error, finished_at=self._clock())
            self.write()
        self.settle()

    def _put_step(self, step: RecoveryStep) -> None:
        steps = list(self.result.steps)
        for at, each in enumerate(steps):
            if each.name == step.name:
                steps[at] = step
                break
        else:
            steps.append(step)
        self.result = msgspec.structs.replace(self.result, steps=steps)


def bounded(items: Sequence[RecoveryItem]) -> list[RecoveryItem]:
    """As many items as a record can hold, those that failed first if they are more."""
    if len(items) <= _ITEMS:
        return list(items)
    return sorted(items, key=lambda item: item.ok)[:_ITEMS]


def first_result(failure: FailureEvent, now_ms: int) -> RecoveryResult:
    """The record of a recovery that has just been taken up. It holds what the failure said: its
    own record may be gone before a handler that goes on looks for it.
    """
    return RecoveryResult(
        failure_id=failure.failure_id,
        type=failure.type,
        severity=failure.severity,
        component=failure.component,
        started_at=now_ms,
        steps=[
            RecoveryStep(
                name=RECEIVED,
                state=StepState.DONE,
                began_at=failure.detected_at,
                ended_at=now_ms,
                detail={
                    "description": failure.description,
                    "context": failure.context,
                    "first_symptom_at": failure.first_symptom_at,
                    "detected_at": failure.detected_at,
                    "detected_by": failure.detected_by,
                },
            )
        ],
    )


def failure_of(result: RecoveryResult) -> FailureEvent:
    """The failure that a recovery is about, as its record tells."""
    steps = {step.name: step for step in result.steps}
    told = steps[RECEIVED].detail if RECEIVED in steps else {}
    return FailureEvent(
        failure_id=result.failure_id,
        type=result.type,
        severity=result.severity,
        component=result.component,
        description=told.get("description", ""),
        context=told.get("context", {}),
        first_symptom_at=told.get("first_symptom_at", result.started_at),
        detected_at=told.get("detected_at", result.started_at),
        detected_by=told.get("detected_by", ""),
        resolved=CLEARED in steps,
    )
