"""One partition of failures: what waits, what is under way, and what was left by others."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from headwater.clock import suspended_clock, wall_ms
from headwater.fleet.feed import partitions_of
from headwater.fleet.records import (
    Escalation,
    EscalationStatus,
    FailureEvent,
    FailureType,
    RecoveryResult,
    RecoveryStatus,
    RecoveryStep,
    Severity,
    StepState,
)
from headwater.log.chain import partition_of

from .context import Shared
from .escalate import Escalator
from .journal import CLEARED, Journal, first_result
from .limits import Admission
from .queues import Queued, Queues
from .run import Patience, Run
from .strategy import Strategy, choose

log = logging.getLogger("headwater.strategies")

_ENDED = 1000
_REPEAT_S = 1200.0
_TAKEN_OVER_S = 10.0
_FORGET_S = 3600.0
_KEPT_MS = 31 * 86_400_000
_UNDER_WAY = (RecoveryStatus.RUNNING, RecoveryStatus.ESCALATED)
# Whoever has an escalation of these: agents must be moved, and nodes frozen, all the same.
_NEVER_HELD = (FailureType.NODE_FAILURE, FailureType.NETWORK_PARTITION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What recoveries are made with."""

    shared: Shared
    strategies: Sequence[Strategy]
    escalator: Escalator
    patience: Patience

    def run(self, result: RecoveryResult, *, resumed: bool) -> Run:
        """A recovery by the strategy that its record names, or by the one for its type."""
        named = [s for s in self.strategies if s.name == result.strategy]
        return Run(
            self.shared,
            Journal(self.shared.sender, result, node_id=self.shared.config.node_id),
            named[0] if named else choose(self.strategies, result.type),
            self.escalator,
            self.patience,
            resumed=resumed,
        )


class Partition:
    """The failures of a partition that this handler owns; for the handler's main thread."""

    def __init__(self, number: int, making: Making, admission: Admission, needed: int) -> None:
        self.number = number
        self.read = -1
        self.runs: dict[str, Run] = {}
        self._making = making
        self._world = making.shared.world
        self._admission = admission
        # Outcomes of predecessors up to there must be known before anything is done.
        self._needed = needed
        self._ready = False
        self._early: list[tuple[FailureEvent, int]] = []
        self._queues = Queues()
        # What was read of the outcomes may be a little behind what was written here.
        self._ended: dict[str, RecoveryResult] = {}
        self._repeat_s = suspended_clock() + _TAKEN_OVER_S
        self._forget_s = suspended_clock()

    @property
    def next_offset(self) -> int:
        """Where a successor has to begin to read; -1 where nothing was read."""
        return self._queues.next_offset(self.read)

    @property
    def waiting(self) -> int:
        """How many failures wait for their recovery."""
        return len(self._queues) + len(self._early)

    def take(self, failure: FailureEvent, offset: int) -> None:
        """A record of the detectors."""
        if not self._ready:
            self._early.append((failure, offset))
            self._queues.hold(offset, f"{failure.failure_id}@{offset}")
            return
        run, queued = self.runs.get(failure.failure_id), self._queues.find(failure.failure_id)
        if run is not None and not run.ended:
            if failure.resolved:
                run.context.clear()
                self._queues.hold(offset, failure.failure_id)
            else:
                run.tell_more(failure)
        elif queued is not None:
            queued.cleared = queued.cleared or failure.resolved
            self._queues.hold(offset, failure.failure_id)
        else:
            self._take_new(failure, offset)

    def tend(self, running: Sequence[Severity]) -> None:
        """Go on: begin what may begin now, where recoveries of these severities are under way, and
        forget what has ended.
        """
        if not self._ready:
            if self._world.outcomes_read(self.number) < self._needed:
                return
            self._begin()
        for failure_id, run in list(self.runs.items()):
            if run.ended:
                del self.runs[failure_id]
                self._ended[failure_id] = run.journal.result
                if len(self._ended) > _ENDED:
                    del self._ended[next(iter(self._ended))]
                self._queues.release(failure_id)
        self._admit(running)
        if suspended_clock() >= self._repeat_s:
            self._repeat()
        if suspended_clock() >= self._forget_s:
            self._forget()

    def heard(self, escalation: Escalation) -> None:
        """An escalation was written: what a person says of it is told to others, too."""
        if partition_of(escalation.component.encode(), partitions_of("recovery")) != self.number:
            return
        if escalation.by.startswith("user:"):
            self._making.escalator.tell_later(escalation)
        self._resume(escalation)

    def _forget(self) -> None:
        """Forget what was over long ago: the failures' own records are gone by then."""
        self._forget_s = suspended_clock() + _FORGET_S
        before, sender = wall_ms() - _KEPT_MS, self._making.shared.sender
        for result in self._world.outcomes(self.number):
            escalation = self._world.escalation(result.failure_id)
            if result.status in _UNDER_WAY or not 0 < result.finished_at < before:
                continue
            sender.send("outcomes", result.failure_id, None, by=result.component)
            if escalation is not None and escalation.status is EscalationStatus.RESOLVED:
                sender.send("escalations", result.failure_id, None)

    def _repeat(self) -> None:
        """Tell again of what is open: an alert that nobody repeats ends by itself."""
        self._repeat_s = suspended_clock() + _REPEAT_S
        for result in self._world.outcomes(self.number):
            escalation = self._world.escalation(result.failure_id)
            if escalation is not None and escalation.status is not EscalationStatus.RESOLVED:
                self._making.escalator.tell_later(escalation, again=True)

    def _resume(self, escalation: Escalation) -> None:
        """If automation had given up, and a person has resolved it, automation begins anew."""
        result = self._world.outcome(escalation.failure_id)
        if (
            self._ready
            and result is not None
            and result.status is RecoveryStatus.ESCALATED
            and escalation.status is EscalationStatus.RESOLVED
            and result.failure_id not in self.runs
        ):
            run = self._making.run(result, resumed=True)
            run.after_person()
            self._start(run)

    def look_again(self, needed: int) -> None:
        """Begin nothing before the outcomes up to an offset are known."""
        self._needed = needed
        self._ready = False

    def knows(self, result: RecoveryResult) -> bool:
        """Whether a record that another handler wrote is about a recovery of ours, and says less
        than is known here.
        """
        ended = self._ended.get(result.failure_id)
        if ended is not None:
            return result.status is RecoveryStatus.RUNNING
        return result.failure_id in self.runs

    def foreign(self, result: RecoveryResult) -> None:
        """Somebody who had this partition before has written about a recovery of ours: say again
        how it stands, since the last record counts.
        """
        log.warning("recovery %s: %s is not the one to act", result.failure_id, result.handled_by)
        ended = self._ended.get(result.failure_id)
        if ended is not None:
            sender = self._making.shared.sender
            sender.send("outcomes", ended.failure_id, ended, by=ended.component)
        elif result.failure_id in self.runs:
            self.runs[result.failure_id].journal.write()

    def close(self, timeout_s: float) -> None:
        """Have every recovery end at its next step, for somebody else to go on."""
        for run in self.runs.values():
            run.context.hand_over()
        deadline = time.monotonic() + timeout_s
        for run in self.runs.values():
            run.join(max(0.0, deadline - time.monotonic()))

    def _begin(self) -> None:
        self._ready = True
        for result in self._world.outcomes(self.number):
            if result.failure_id in self.runs or result.failure_id in self._ended:
                continue
            if result.status is RecoveryStatus.RUNNING:
                log.info("recovery %s goes on here", result.failure_id)
                self._start(self._making.run(result, resumed=True))
            elif result.status is RecoveryStatus.ESCALATED:
                escalation = self._world.escalation(result.failure_id)
                if escalation is not None:
                    self._resume(escalation)
        early, self._early = self._early, []
        for failure, offset in early:
            self._queues.release(f"{failure.failure_id}@{offset}")
            self.take(failure, offset)

    def _take_new(self, failure: FailureEvent, offset: int) -> None:
        known = self._ended.get(failure.failure_id) or self._world.outcome(failure.failure_id)
        if known is None:
            if not failure.resolved:
                self._queues.add(failure, offset)
                self._supersede(failure)
        elif failure.resolved and known.status is RecoveryStatus.ESCALATED:
            self._clear_escalated(known)

    def _supersede(self, failure: FailureEvent) -> None:
        """Whatever is being done about a node that has failed since is done no more."""
        if failure.type is not FailureType.NODE_FAILURE:
            return
        for run in self.runs.values():
            other = run.journal.result
            if other.component == failure.component and other.type is not failure.type:
                run.context.supersede(failure.failure_id)

    def _clear_escalated(self, known: RecoveryResult) -> None:
        escalation = self._world.escalation(known.failure_id)
        if escalation is None or escalation.status is EscalationStatus.RESOLVED:
            return
        run = self._making.run(known, resumed=True)
        run.settle_cleared()
        self._start(run)

    def _admit(self, running: Sequence[Severity]) -> None:
        busy = {run.component for run in self.runs.values()}
        heads = {
            waiting: queued
            for waiting, queued in self._queues.heads(busy)
            if not self._held(queued.failure)
        }
        if heads:
            for waiting in self._admission.admit(heads, running, suspended_clock()):
                self._start_new(heads[waiting])

    def _held(self, failure: FailureEvent) -> bool:
        """Whether a person has the component, and automation waits for them."""
        if failure.type in _NEVER_HELD:
            return False
        for result in self._world.outcomes(self.number):
            if (
                result.component == failure.component
                and result.type is failure.type
                and result.status is RecoveryStatus.ESCALATED
            ):
                escalation = self._world.escalation(result.failure_id)
                if escalation is not None and escalation.status is not EscalationStatus.RESOLVED:
                    return True
        return False

    def _start_new(self, queued: Queued) -> None:
        self._queues.take(queued)
        now = wall_ms()
        result = first_result(queued.failure, now)
        if queued.cleared:
            over = RecoveryStep(name=CLEARED, state=StepState.DONE, began_at=now, ended_at=now)
            result = msgspec.structs.replace(result, steps=[*result.steps, over])
        self._start(self._making.run(result, resumed=False))

    def _start(self, run: Run) -> None:
        self.runs[run.failure_id] = run
        run.start()
