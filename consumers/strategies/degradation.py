"""PERFORMANCE_DEGRADATION: find the root cause, and act until a check shows that it is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.fleet.records import CommandKind, FailureEvent, FailureType, RecoveryItem

from .causes import Action, Diagnosis, diagnose
from .context import Context, unanswered
from .heaviest import Shed, heaviest
from .relief import give_away, throttle
from .strategy import Result

# How long an action has to show what it does; the detector calls it over after three good windows.
_CHECK_S = 20.0
_THROTTLED = 5.0
_SOME = Shed(goal=0.5, most=0.34)
_ALL = Shed(goal=0.0, most=1.0)
_ANSWER_S = 30.0


class Degradation:
    """Diagnoses, and runs the actions for the cause, mildest first, each with a check after it."""

    name = "performance-degradation"
    priority = 100

    def __init__(self, check_s: float = _CHECK_S) -> None:
        self._check_s = check_s

    def can_handle(self, failure_type: FailureType) -> bool:
        """For what became slow."""
        return failure_type is FailureType.PERFORMANCE_DEGRADATION

    def recover(self, failure: FailureEvent, context: Context) -> Result:
        """Diagnose; act; check."""
        found = context.step("diagnose", lambda _: as_detail(self._diagnose(failure, context)))
        diagnosis = Diagnosis(
            cause=found["cause"], nodes=tuple(found["nodes"]), evidence=found["evidence"]
        )
        context.note(
            "cause.found",
            f"{diagnosis.cause}: {diagnosis.evidence}",
            nodes=list(diagnosis.nodes),
            actions=list(diagnosis.actions),
        )
        tried: list[str] = []
        items: list[RecoveryItem] = []
        for action in diagnosis.actions:
            name = action.value.lower()
            if self._over(context, 0.0):
                break
            tried.append(name)
            items += self._act(context, action, diagnosis)
            if self._over(context, self._check_s):
                break
        if Action.THROTTLE.value.lower() in tried:
            throttle(context, "unthrottle", diagnosis.nodes, 0.0)
        over = self._over(context, 0.0)
        said = f"{diagnosis.cause} ({diagnosis.evidence}); done: {', '.join(tried) or 'nothing'}"
        return Result(
            success=over,
            message=said,
            error="" if over else f"{failure.description}: it is not over",
            items=tuple(items),
        )

    def _diagnose(self, failure: FailureEvent, context: Context) -> Diagnosis:
        figure, _, kind = str(failure.context.get("figure", "")).partition(":")
        if failure.component.startswith("kind:"):
            kind = failure.component.removeprefix("kind:")
        return diagnose(failure.component, figure, context.world.nodes(), step_times(context, kind))

    def _over(self, context: Context, wait_s: float) -> bool:
        return context.wait_for(lambda: context.cleared, wait_s)

    def _act(self, context: Context, action: Action, diagnosis: Diagnosis) -> list[RecoveryItem]:
        items: list[RecoveryItem] = []
        name = action.value.lower()
        if action is Action.THROTTLE:
            throttle(context, name, diagnosis.nodes, _THROTTLED)
        elif action is Action.RESTART:
            self._restart(context, diagnosis)
        elif action in (Action.MOVE_SOME, Action.MOVE_ALL):
            shed = _SOME if action is Action.MOVE_SOME else _ALL
            for node_id in diagnosis.nodes:
                life = context.world.life(node_id)
                chosen = heaviest(life.agents.values() if life else (), 1.0, shed)
                items += give_away(context, f"{name}.{node_id}", node_id, chosen)
        return items

    @staticmethod
    def _restart(context: Context, diagnosis: Diagnosis) -> None:
        """Have agents go on from their last state, with sessions and connections made anew."""

        def act(detail: dict[str, Any]) -> dict[str, Any]:
            commands = [
                command
                for node_id in detail["nodes"]
                for command in context.command(node_id, CommandKind.RESTART, name="restart")
            ]
            return {**detail, "problem": unanswered(commands, context.ask(commands, _ANSWER_S))}

        context.step("restart", act, lambda: {"nodes": list(diagnosis.nodes)})


def step_times(context: Context, kind: str) -> dict[str, float]:
    """What a step of a kind takes on each node, in milliseconds, as the metrics or, where there
    are none, the heartbeats tell.
    """
    found = {}
    for node_id, life in context.world.lives().items():
        report = life.kinds.get(kind)
        if report is None:
            continue
        metric = context.world.metric("step_ms", f"node:{node_id}")
        if metric is not None and metric.count:
            found[node_id] = metric.p50
        elif report.latency:
            found[node_id] = typical_ms({each.bucket: each.count for each in report.latency})
    return found


def typical_ms(counts: Mapping[int, int]) -> float:
    """The median of a histogram whose bucket b begins at 2^(b/8) ms."""
    left = sum(counts.values()) / 2
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return float(2 ** ((bucket + 0.5) / 8))
    return 0.0


def as_detail(diagnosis: Diagnosis) -> dict[str, Any]:
    """A diagnosis as a step has it."""
    return {
        "cause": diagnosis.cause,
        "nodes": list(diagnosis.nodes),
        "evidence": diagnosis.evidence,
    }
