"""One recovery under way: attempt after attempt, until it succeeds or a person has to act."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from dataclasses import dataclass

from headwater.crash import crash_point
from headwater.errors import HeadwaterError, RetryableError
from headwater.fleet.records import FailureEvent, RecoveryStatus, Severity, StepState

from .context import Context, HandedOver, Shared, Superseded
from .escalate import Escalator
from .journal import Journal, Unrecorded, failure_of
from .strategy import Result, Strategy

log = logging.getLogger("headwater.strategies")

_PERSON = "person"
_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a strategy tries, and how long it waits in between: twice as long each time."""

    attempts: int = 3
    first_s: float = 1.0
    longest_s: float = 60.0

    def wait_s(self, attempts: int) -> float:
        """How long to wait after so many attempts."""
        return min(self.longest_s, self.first_s * 2.0 ** min(attempts - 1, 32))


class Run:
    """Runs a strategy in a thread of its own. ``strategy`` None: there is none for the failure."""

    def __init__(
        self,
        shared: Shared,
        journal: Journal,
        strategy: Strategy | None,
        escalator: Escalator,
        patience: Patience,
        *,
        resumed: bool,
    ) -> None:
        self._shared = shared
        self.journal = journal
        self._strategy = strategy
        self._escalator = escalator
        self._patience = patience
        self._resumed = resumed
        self.context = self._new_context()
        self._thread = threading.Thread(
            target=self._run, name=f"recovery-{journal.result.failure_id[:8]}", daemon=True
        )

    @property
    def failure_id(self) -> str:
        """The failure."""
        return self.journal.result.failure_id

    @property
    def component(self) -> str:
        """What failed."""
        return self.journal.result.component

    @property
    def ended(self) -> bool:
        """Whether nothing more comes from it."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until it has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def after_person(self) -> None:
        """Begin anew where a person has resolved the escalation: with attempts of its own."""
        attempt = self.journal.result.attempt + 1
        self.journal.note(f"{_PERSON}.{attempt}", {"first_attempt": attempt})
        self.journal.update(
            attempt=attempt, status=RecoveryStatus.RUNNING, finished_at=0, error="", message=""
        )
        self.context = self._new_context()

    def tell_more(self, failure: FailureEvent) -> None:
        """The detector has said more: a failure that has become critical is told of at once."""
        if failure.severity is Severity.CRITICAL is not self.journal.result.severity:
            self.journal.update(severity=failure.severity)
            self.journal.audit("failure.grew", failure.description)
            threading.Thread(target=self._tell_of_critical, daemon=True).start()

    def settle_cleared(self) -> None:
        """Have it end at once, since the failure cleared while a person had it."""
        self.journal.update(status=RecoveryStatus.RUNNING, finished_at=0)
        self.context.clear()

    def _new_context(self) -> Context:
        result = self.journal.result
        return Context(
            self._shared,
            failure_of(result),
            self.journal,
            result.attempt,
            self._escalate,
            after_person=self._first_attempt() > 1,
        )

    def _first_attempt(self) -> int:
        """The first attempt since a person resolved the escalation, or of all."""
        steps = self.journal.result.steps
        told = [s.detail["first_attempt"] for s in steps if s.name.startswith(f"{_PERSON}.")]
        return max(told, default=1)

    def _escalate(self, message: str) -> None:
        self._escalator.open(self.journal, message, wait=False)

    def _run(self) -> None:
        again_s = _AGAIN_S
        while True:
            try:
                self._recover()
                return
            except HandedOver:
                log.info("recovery %s is left to whoever has it now", self.failure_id)
                return
            except RetryableError as error:
                # What was recorded is known, so that it goes on where it is.
                log.warning("recovery %s is held up: %s", self.failure_id, error)
                time.sleep(again_s)
                again_s = min(2 * again_s, 10.0)
                self._resumed = True
            except HeadwaterError as error:
                log.error("recovery %s cannot be recorded: %s", self.failure_id, error)
                return
            except Exception as error:
                log.error(
                    "recovery %s: a fault in headwater itself", self.failure_id, exc_info=True
                )
                self._end_at_fault(error)
                return

    def _end_at_fault(self, error: Exception) -> None:
        fault = Result(success=False, message="a fault in headwater itself", error=repr(error))
        try:
            self._give_up(fault)
        except (HeadwaterError, HandedOver, Superseded) as why:
            log.error("recovery %s: nobody could be told: %s", self.failure_id, why)

    def _recover(self) -> None:
        journal, result = self.journal, self.journal.result
        name = "" if self._strategy is None else self._strategy.name
        journal.update(strategy=name)
        if self._resumed:
            journal.audit("recovery.resumed", f"goes on with attempt {result.attempt} by {name}")
        else:
            journal.audit(
                "recovery.begun",
                f"strategy {name or 'none'} for {result.type} of {result.component}",
                {"strategy": name, "severity": result.severity},
            )
        crash_point("strategy.begun")
        try:
            if self.context.cleared and not self._unfinished_attempt():
                self._finish(RecoveryStatus.SKIPPED, "it has cleared")
            else:
                self._try_again_and_again()
        except Superseded as covered:
            self._finish(RecoveryStatus.SKIPPED, f"covered by failure {covered}")

    def _unfinished_attempt(self) -> bool:
        """Whether an attempt was begun that has not come to a result: it may have to undo what it
        did, such as the freezing of nodes.
        """
        steps = self.journal.result.steps
        begun = {s.name.partition(".")[0] for s in steps if s.name[0].isdigit()}
        return bool(begun - {s.name.partition(".")[0] for s in steps if s.name.endswith(".result")})

    def _try_again_and_again(self) -> None:
        if self.journal.result.severity is Severity.CRITICAL and self._strategy is not None:
            self._tell_of_critical()
        while True:
            result = self._attempt()
            if result.success:
                self._finish(RecoveryStatus.SUCCEEDED, result.message)
                return
            attempt = self.journal.result.attempt
            made = attempt - self._first_attempt() + 1
            if self.context.cleared and result.again and not result.healing:
                self._finish(RecoveryStatus.SKIPPED, f"it has cleared; until then: {result.error}")
                return
            if not result.again or made >= self._patience.attempts:
                self._give_up(result)
                return
            wait_s = self._patience.wait_s(made) if result.after_s is None else result.after_s
            self.context.sleep(wait_s)
            self.journal.update(attempt=attempt + 1)
            cleared = self.context.cleared
            over = self.context
            self.context = self._new_context()
            if cleared and not self.context.cleared:
                self.context.clear()
            over.check()

    def _tell_of_critical(self) -> None:
        if self._shared.world.escalation(self.failure_id) is not None:
            return
        told = failure_of(self.journal.result).description
        try:
            self._escalate(f"critical, automation is at work: {told}")
        except HeadwaterError as error:
            # What must not wait for it is the recovery.
            log.error("recovery %s: nobody was told: %s", self.failure_id, error)

    def _attempt(self) -> Result:
        """Make one attempt, or read what came of it where it was made before."""
        journal = self.journal
        name = f"{journal.result.attempt}.result"
        known = journal.step(name)
        if known is not None:
            told = known.detail
            return Result(
                success=known.state is StepState.DONE and told["success"],
                message=told["message"],
                error=told["error"],
                items=tuple(journal.result.items),
                again=told["again"],
            )
        began_s = time.monotonic()
        result = self._guarded()
        result = dataclasses.replace(result, seconds=time.monotonic() - began_s)
        journal.update(
            metrics={
                **journal.result.metrics,
                **result.metrics,
                "attempt_seconds": round(result.seconds, 4),
            }
        )
        if result.items:
            journal.update(items=list(result.items))
        journal.note(
            name,
            {
                "success": result.success,
                "status": result.status,
                "message": result.message,
                "error": result.error,
                "again": result.again,
                "seconds": round(result.seconds, 4),
            },
        )
        if not result.success:
            journal.audit("attempt.failed", result.message, {"error": result.error})
        return result

    def _guarded(self) -> Result:
        if self._strategy is None:
            what = self.journal.result.type
            return Result(
                success=False, message=f"no strategy handles {what}", error="none", again=False
            )
        try:
            return self._strategy.recover(self.context.failure, self.context)
        except (HandedOver, Superseded, Unrecorded):
            raise
        except HeadwaterError as error:
            return Result(success=False, message="the attempt was ended by an error",
                          error=str(error) or repr(error))  # fmt: skip
        except Exception as error:
            log.error("strategy %s is at fault", self._strategy.name, exc_info=True)
            return Result(success=False, message=f"strategy {self._strategy.name} is at fault",
                          error=repr(error))  # fmt: skip

    def _give_up(self, result: Result) -> None:
        self.context.check()
        self._escalator.open(
            self.journal, f"{result.message}: {result.error}" if result.error else result.message
        )
        self._finish(RecoveryStatus.ESCALATED, result.message, result.error)

    def _finish(self, status: RecoveryStatus, message: str, error: str = "") -> None:
        if status is not RecoveryStatus.ESCALATED:
            self._escalator.close(self.journal, message)
        started = self.journal.result.started_at
        detected = failure_of(self.journal.result).detected_at
        self.journal.update(
            metrics={**self.journal.result.metrics, "received_ms": float(started - detected)}
        )
        crash_point("strategy.before_finish")
        self.journal.finish(status, message, error)
