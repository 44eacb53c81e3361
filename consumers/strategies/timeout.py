"""TIMEOUT: a step that does not end, or an agent that stands still.

The owner is asked first: it cancels the step, and the agent goes on from its last state, on the
same node. Where that does not help, the agent is given up there and started on another node. An
owner is never overruled while its lease holds; one that cannot obey loses its lease by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.fleet.records import CommandKind, FailureEvent, FailureType, RecoveryItem

from .context import Context
from .hosted import agent_of, is_done, is_to_run, report_of, running, start, stop, tell, went_on
from .strategy import Result

# A restarted agent gets the time of a step, and some more, to show that it goes on.
_LEAST_S = 5.0
_LONGEST_S = 120.0
_FIRST_BACK_OFF_S = 2.0
_LONGEST_BACK_OFF_S = 60.0


class Timeout:
    """Restarts the agent where it is; then elsewhere, waiting longer each time."""

    name = "timeout"
    priority = 100

    def can_handle(self, failure_type: FailureType) -> bool:
        """For steps that do not end."""
        return failure_type is FailureType.TIMEOUT

    def recover(self, failure: FailureEvent, context: Context) -> Result:
        """Ask the owner; then move the agent."""
        agent = agent_of(failure.component)
        route = running(context, agent)
        if route is None and not is_to_run(context, agent):
            return Result(success=True, message=f"{agent} is not to run any more")
        if route is None:
            # Its node has failed, which is a failure of its own, and moves it.
            return Result(
                success=False,
                message=f"the node of {agent} is silent",
                error="nobody can be asked to restart it",
                after_s=back_off_s(context.attempt),
            )
        before = {"epoch": route.epoch, **_known(failure)}
        if self._over(context, agent, before):
            return Result(success=True, message=f"{agent} went on by itself")
        # Its node has restarted it again and again already: more of that does not help.
        in_vain = failure.context.get("subject") == "restarts" or context.attempt > 1
        place = ""
        if not in_vain:
            told = tell(context, "restart", CommandKind.RESTART, agent, route.node_id)
            place = route.node_id if told["ok"] else ""
            in_vain = not told["ok"]
        if in_vain:
            context.note("owner.passed_over", f"{agent} goes to another node than {route.node_id}")
            item = start(context, agent, stop(context, agent), gone=_avoid(context, route.node_id))
            if not item.ok:
                # Better there, with its own back-off, than nowhere.
                return self._back(context, agent, item.error)
            place = item.node_id
        return self._result(context, agent, place, before)

    def _back(self, context: Context, agent: str, why: str) -> Result:
        return Result(
            success=False,
            message=f"{agent} found no other node",
            error=why,
            items=(RecoveryItem(agent_id=agent, ok=False, error=why),),
            after_s=back_off_s(context.attempt),
        )

    def _result(
        self, context: Context, agent: str, place: str, before: Mapping[str, Any]
    ) -> Result:
        deadline_s = float(before.get("deadline_ms", 0)) / 1000
        wait_s = min(_LONGEST_S, max(_LEAST_S, deadline_s + 3 * context.lease_s))
        context.wait_for(lambda: self._over(context, agent, before), wait_s)
        over = self._over(context, agent, before)
        error = "" if over else f"it completed no step in {wait_s:g} s"
        return Result(
            success=over,
            message=f"{agent} {'goes on, on' if over else 'was restarted on'} {place}",
            error=error,
            items=(RecoveryItem(agent_id=agent, ok=over, node_id=place, error=error),),
            after_s=back_off_s(context.attempt),
        )

    @staticmethod
    def _over(context: Context, agent: str, before: Mapping[str, Any]) -> bool:
        return (
            context.cleared or is_done(context, agent) or went_on(report_of(context, agent), before)
        )


def back_off_s(attempt: int) -> float:
    """How long to wait after an attempt, in seconds."""
    return float(min(_LONGEST_BACK_OFF_S, _FIRST_BACK_OFF_S * 2.0 ** min(attempt - 1, 32)))


def _known(failure: FailureEvent) -> dict[str, Any]:
    names = ("epoch", "step", "version", "deadline_ms")
    return {name: failure.context[name] for name in names if name in failure.context}


def _avoid(context: Context, node_id: str) -> set[str]:
    """The nodes on which it hung before."""
    steps = context.journal.result.steps
    return {node_id} | {str(s.detail["node_id"]) for s in steps if s.detail.get("node_id")}
