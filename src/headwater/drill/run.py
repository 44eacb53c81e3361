"""Holds a drill on shadow agents: sets the stage, brings the failure about, measures, clears up."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from headwater.client import Client
from headwater.clock import wall_ms
from headwater.drill.faults import FAULTS, WARM_UP_S, Fault
from headwater.drill.model import TYPES, Report, Targets, judge
from headwater.drill.shadow import is_shadow
from headwater.drill.stage import Stage, forget, leftovers
from headwater.drill.steps import losses
from headwater.drill.watch import Watch
from headwater.errors import DrillNotHeld

#: How much longer than its target something is waited for, so that a miss has a figure.
_LONGER = 1.5
_LONGER_S = 10.0

Advance = Callable[[str], None]


def new_drill_id() -> str:
    """A name for a drill."""
    return secrets.token_hex(4)


def hold_on_shadows(
    client: Client,
    kind: str,
    targets: Targets,
    environment: Mapping[str, str],
    *,
    agents: Sequence[str] = (),
    count: int = 10,
    advance: Advance = lambda text: None,
) -> Report:
    """Hold a drill on shadows of ``agents``, or else of the first ``count`` that there are.

    ``environment`` is that of a process which is to connect as ``client`` does. What was measured
    is in the report, with whatever missed its target; raises Headwater's errors for what kept the
    drill from being held at all.
    """
    originals = list(agents) or _some(client, count)
    fault = FAULTS[kind]()
    report = Report(
        drill_id=new_drill_id(),
        kind=kind,
        shadow=True,
        node_id="",
        agents=len(originals),
        started_at=wall_ms(),
        targets=targets,
    )
    with Stage(client, report.drill_id, environment) as stage:
        _clear_up_after_others(client, stage.watch)
        advance("starting the drill's nodes")
        fault.prepare(stage)
        report = replace(report, node_id=stage.victim)
        advance(f"copying {len(originals)} agents")
        stage.copy(originals)
        stage.start_agents()
        warm_up_s = WARM_UP_S.get(kind, 0.0)
        if warm_up_s:
            advance(f"letting them work for {warm_up_s:.0f} s, to know what is usual")
            stage.watch.until(lambda: False, warm_up_s)
        try:
            advance("bringing the failure about")
            report, problems = _measure(stage, fault, report)
        finally:
            fault.end(stage)
        advance("counting what was lost")
        stage.end_nodes()
        lost = losses(stage.notes(), stage.states())
    report = replace(
        report,
        changes=lost.changes,
        lost=lost.lost,
        doubled=lost.doubled,
        repeated=lost.repeated,
    )
    return replace(report, problems=(*judge(report), *problems))


def _measure(stage: Stage, fault: Fault, report: Report) -> tuple[Report, list[str]]:
    watch, targets = stage.watch, report.targets
    component = fault.inject(stage)
    began_s = time.monotonic()
    type_ = TYPES[report.kind]
    watch.until(lambda: watch.failure(type_, component) is not None, patience_s(targets.detect_ms))
    seen = watch.failure(type_, component)
    if seen is None:
        return report, []
    at_s, failure = seen
    report = replace(
        report, detected_ms=milliseconds(at_s - began_s), failure_ids=(failure.failure_id,)
    )
    fault.detected(stage, failure.failure_id)
    recovered_s: float | None = None

    def recovered() -> bool:
        nonlocal recovered_s
        recovered_s = fault.recovered(stage, began_s, failure.failure_id)
        return recovered_s is not None

    watch.until(recovered, patience_s(targets.recover_ms))
    if recovered_s is not None:
        report = replace(report, recovered_ms=milliseconds(recovered_s - began_s))
    # The record of what was done is part of a recovery.
    watch.until(lambda: watch.ended_s(failure.failure_id) is not None, _LONGER_S)
    problems = fault.check(stage, failure.failure_id)
    if watch.ended_s(failure.failure_id) is None:
        problems.append("no outcome of the recovery was recorded")
    return report, problems


def patience_s(target_ms: float) -> float:
    """How long to wait for what has a target."""
    return target_ms / 1000 * _LONGER + _LONGER_S


def milliseconds(seconds: float) -> float:
    """As reports have them."""
    return round(seconds * 1000, 1)


def _some(client: Client, count: int) -> list[str]:
    found = list(itertools.islice((a for a in client.agents() if not is_shadow(a)), count))
    if not found:
        raise DrillNotHeld("there is no agent to make a shadow of; a drill needs one at least")
    return found


def _clear_up_after_others(client: Client, watch: Watch) -> None:
    # Whoever still beats is heard of within a second or so.
    watch.until(lambda: False, 2 * client.config.timing.heartbeat.total_seconds())
    forget(client, leftovers(watch))
