"""TIMEOUT: a step that hangs, an agent whose steps hang again and again, and one that stands still.

Nodes end steps at their deadline by themselves. What is found here is what a node did not, or could
not, do: a step that is still under way a while after its deadline; an agent whose steps ended so
several times in a row, so that trying again in the same place is no use; and a version that stalls,
against the pace that the agent had. Steps are judged by the node's own clock: when a heartbeat was
sent, against when the step began. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from headwater.fleet.pulse import Life
from headwater.fleet.records import (
    AgentMode,
    AgentReport,
    FailureEvent,
    FailureType,
    NodeMode,
    RouteStatus,
)
from headwater.fleet.routes import RouteTable

from .exhaustion import is_gone
from .finding import Finding

STEP, RESTARTS, VERSION = "step", "restarts", "version"

_RESTARTS = 2
_GRACE_LEASES = 1.0
_LATE_BEATS = 2
_STALL_MS = 60_000
_STALL_TIMES = 30
_PACE = 20
_AT_WORK = frozenset({AgentMode.RUNNING, AgentMode.BACKING_OFF})
_DEADLINE_ERROR = "a step took longer than"
"""What a node reports as the error of a step that it ended at its deadline begins so."""
_NOT_TO_RUN = frozenset({RouteStatus.STOPPED, RouteStatus.QUARANTINED, RouteStatus.DONE})


def component_of(agent_id: str) -> str:
    """An agent's name in failures."""
    return f"agent:{agent_id}"


@dataclass(slots=True)
class Pace:
    """When an agent's version changed of late, by its node's clock in milliseconds; ``seen_s``:
    when that was read. A node's clock may jump, so only both together tell of a standstill.
    """

    epoch: int
    version: int
    since_ms: int
    seen_s: float
    gaps_ms: deque[int] = field(default_factory=lambda: deque(maxlen=_PACE))

    def take(self, report: AgentReport, now_ms: int, read_s: float) -> None:
        """The agent as its node has it at ``now_ms``, which was read at ``read_s``."""
        if report.epoch != self.epoch or report.version != self.version:
            self.seen_s = read_s
        if report.epoch != self.epoch or report.state is not AgentMode.RUNNING:
            # Whatever held it up, it was not at work here: its pace is to be seen anew.
            self.epoch, self.version, self.since_ms = report.epoch, report.version, now_ms
            self.gaps_ms.clear()
        elif report.version != self.version:
            self.gaps_ms.append(now_ms - self.since_ms)
            self.version, self.since_ms = report.version, now_ms

    def stalled_ms(self, now_ms: int, read_s: float) -> int:
        """For how long the version stands still, if that is out of all proportion, else 0."""
        if len(self.gaps_ms) < _PACE or (read_s - self.seen_s) * 1000 <= _STALL_MS:
            return 0
        still_ms = now_ms - self.since_ms
        return still_ms if still_ms > max(_STALL_MS, _STALL_TIMES * max(self.gaps_ms)) else 0


class Timeouts:
    """Finds agents that do not come on."""

    type = FailureType.TIMEOUT

    def __init__(self, lives: Mapping[str, Life], routes: RouteTable) -> None:
        self._lives = lives
        self._routes = routes
        self._paces: dict[str, dict[str, Pace]] = {}
        # By node: the steps that were late when it last said all, and how often they were so far.
        self._late: dict[str, dict[tuple[str, int], int]] = {}

    def take(self, life: Life) -> None:
        """A complete heartbeat of a node was read."""
        if life.mode is NodeMode.CLIENT:
            return
        before = self._paces.get(life.node_id, {})
        paces = self._paces[life.node_id] = {}
        now_ms = life.beat.sent_at
        for agent_id, report in life.agents.items():
            pace = before.get(agent_id) or Pace(report.epoch, report.version, now_ms, life.read_s)
            pace.take(report, now_ms, life.read_s)
            paces[agent_id] = pace
        self._count_late(life)

    def _count_late(self, life: Life) -> None:
        """A step that is late once only was held up with its whole node, and has gone on since."""
        before = self._late.get(life.node_id, {})
        late = [(a, r.step_started_at) for a, r in life.agents.items() if _late_ms(life, r) > 0]
        self._late[life.node_id] = {step: before.get(step, 0) + 1 for step in late}

    def findings(self, now_s: float) -> Iterator[Finding]:
        """The agents that hang."""
        for node_id, life in self._lives.items():
            if life.mode is NodeMode.CLIENT or is_gone(life, now_s):
                self._paces.pop(node_id, None)
                self._late.pop(node_id, None)
                continue
            paces, late = self._paces.get(node_id, {}), self._late.get(node_id, {})
            for agent_id, report in life.agents.items():
                found = _again(life, report)
                if late.get((agent_id, report.step_started_at), 0) >= _LATE_BEATS:
                    found = _overdue(life, report)
                if found is None and (pace := paces.get(agent_id)) is not None:
                    found = _stalled(life, report, pace)
                if found is not None:
                    yield found

    def cleared(self, event: FailureEvent, now_s: float) -> str:
        """Why a failure is over: the agent came on, is owned anew, or is not to run any more."""
        agent_id = event.component.partition(":")[2]
        route = self._routes.get(agent_id)
        if route is not None and route.status in _NOT_TO_RUN:
            return f"agent {agent_id} is not to run any more ({route.status.value})"
        report = self._report(agent_id, now_s)
        if report is None:
            return ""
        return _why_over(event, report)

    def _report(self, agent_id: str, now_s: float) -> AgentReport | None:
        found = None
        for life in self._lives.values():
            report = life.agents.get(agent_id)
            newer = report is not None and (found is None or report.epoch > found.epoch)
            if newer and not is_gone(life, now_s):
                found = report
        return found


def _why_over(event: FailureEvent, report: AgentReport) -> str:
    context, agent_id = event.context, report.agent_id
    if report.state is AgentMode.DONE:
        return f"agent {agent_id} is done"
    elsewhere = report.epoch > int(context["epoch"])
    subject = context.get("subject")
    if subject == RESTARTS:
        # A claim anew is what its node tries each time: only a step that ends well ends it.
        came_on = report.restarts == 0 and (elsewhere or report.step > int(context["step"]))
        return f"agent {agent_id} completed a step again" if came_on else ""
    if elsewhere:
        return f"agent {agent_id} is owned anew"
    if subject == STEP and report.step_started_at != int(context["step_started_at"]):
        return f"the step of agent {agent_id} came to an end"
    if subject == VERSION and report.version != int(context["version"]):
        return f"agent {agent_id} changes again"
    return ""


def _late_ms(life: Life, report: AgentReport) -> int:
    """How long after its deadline a step is under way, if that is more than the grace, else 0."""
    kind = life.kinds.get(report.kind)
    if kind is None or not kind.deadline_ms or not report.step_started_at:
        return 0
    late_ms = life.beat.sent_at - report.step_started_at - kind.deadline_ms
    return late_ms if late_ms > _GRACE_LEASES * life.beat.lease_ms else 0


def _overdue(life: Life, report: AgentReport) -> Finding:
    deadline_ms = life.kinds[report.kind].deadline_ms
    late_ms = life.beat.sent_at - report.step_started_at - deadline_ms
    return _finding(
        life,
        report,
        STEP,
        (str(report.epoch), str(report.step)),
        f"a step of agent {report.agent_id} is under way {late_ms} ms after its deadline",
        report.step_started_at + deadline_ms,
        {"step_started_at": report.step_started_at, "deadline_ms": deadline_ms},
    )


def _again(life: Life, report: AgentReport) -> Finding | None:
    if (
        report.restarts < _RESTARTS
        or report.state not in _AT_WORK
        or not report.last_error.startswith(_DEADLINE_ERROR)
    ):
        return None
    return _finding(
        life,
        report,
        RESTARTS,
        (life.incarnation.hex(), str(report.step), str(report.version)),
        f"the steps of agent {report.agent_id} time out again and again",
        life.beat.sent_at,
        {"restarts": report.restarts, "error": report.last_error},
    )


def _stalled(life: Life, report: AgentReport, pace: Pace) -> Finding | None:
    still_ms = pace.stalled_ms(life.beat.sent_at, life.read_s)
    if not still_ms or report.state is not AgentMode.RUNNING:
        return None
    return _finding(
        life,
        report,
        VERSION,
        (str(report.epoch), str(report.version)),
        f"agent {report.agent_id} stands still at version {report.version} for {still_ms} ms, "
        f"{_STALL_TIMES} times longer than ever of late",
        pace.since_ms,
        {"still_ms": still_ms},
    )


def _finding(
    life: Life,
    report: AgentReport,
    subject: str,
    mark: tuple[str, ...],
    description: str,
    first_symptom_at: int,
    more: dict[str, Any],
) -> Finding:
    return Finding(
        type=FailureType.TIMEOUT,
        component=component_of(report.agent_id),
        subject=subject,
        mark=mark,
        description=description,
        first_symptom_at=first_symptom_at,
        context={
            "agent_id": report.agent_id,
            "kind": report.kind,
            "node_id": life.node_id,
            "epoch": report.epoch,
            "version": report.version,
            "step": report.step,
            "restarts": report.restarts,
        }
        | more,
    )
