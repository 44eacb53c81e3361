"""Holds a drill on a real node: one that runs on this machine, and that somebody has given free."""

from __future__ import annotations

import json
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from headwater.client import Client
from headwater.clock import wall_ms
from headwater.drill.faults import Stutter
from headwater.drill.model import NODE_FAILURE, TYPES, Report, Targets, judge
from headwater.drill.run import milliseconds, new_drill_id, patience_s
from headwater.drill.watch import Watch
from headwater.errors import DrillNotHeld
from headwater.fleet.pulse import Life
from headwater.fleet.records import AgentReport, RecoveryStatus, RouteStatus
from headwater.local.process import Identity, began_at
from headwater.recovery import Recovered

_ASK_S = 2.0
_HEAR_LEASES = 2
_GOOD = (RecoveryStatus.SUCCEEDED, RecoveryStatus.SKIPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A node on this machine, and the agents that it is to run."""

    node_id: str
    process: Identity
    agents: tuple[str, ...]


def find_victim(client: Client, node_id: str) -> Victim:
    """A node's process and agents. Raises :class:`DrillNotHeld` where it does not live, does not
    run on this machine, or runs nothing.
    """
    watch = Watch(client.config)
    try:
        watch.until(
            lambda: watch.life(node_id) is not None,
            _HEAR_LEASES * client.config.timing.lease_ms / 1000,
        )
        life = watch.life(node_id)
        if life is None:
            raise DrillNotHeld(f"node {node_id} is not heard of; `headwater nodes` lists them")
        agents = tuple(
            route.agent_id
            for route in watch.routes.on(node_id)
            if route.status is RouteStatus.RUNNING
        )
        if not agents:
            raise DrillNotHeld(f"node {node_id} runs no agent; there is nothing to recover")
        return Victim(node_id=node_id, process=_process(life), agents=agents)
    finally:
        watch.close()


def _process(life: Life) -> Identity:
    """The process that answers at a node's address, if that is one of this machine's."""
    host = life.address.rpartition(":")[0]
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
        with urllib.request.urlopen(f"http://{life.address}/health", timeout=_ASK_S) as answer:
            state = json.load(answer)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise DrillNotHeld(
            f"node {life.node_id} ({life.address or 'no address'}) does not run on this machine, "
            f"or does not answer; hold the drill where it runs ({error})"
        ) from error
    began = began_at(int(state["pid"])) if state.get("node_id") == life.node_id else None
    if began is None:
        raise DrillNotHeld(f"no process of this machine is node {life.node_id}; hold it there")
    return Identity(pid=int(state["pid"]), began=began)


def hold_on_node(
    client: Client,
    kind: str,
    victim: Victim,
    targets: Targets,
    *,
    advance: Callable[[str], None] = lambda text: None,
) -> Report:
    """Hold a drill on a real node: SIGKILL, or short stops for most of the time.

    What its agents do in their steps is not known here, so repeated steps are not counted.
    """
    report = Report(
        drill_id=new_drill_id(),
        kind=kind,
        shadow=False,
        node_id=victim.node_id,
        agents=len(victim.agents),
        started_at=wall_ms(),
        targets=targets,
    )
    watch = Watch(client.config)
    stutter: Stutter | None = None
    try:
        advance(f"reading {len(victim.agents)} agents")
        before = _versions(client, victim)
        advance("bringing the failure about")
        if kind == NODE_FAILURE:
            victim.process.signal(signal.SIGKILL)
        else:
            stutter = Stutter(victim.process, client.config.timing.lease.total_seconds())
        report = _measure(watch, victim, report, before, stutter)
    finally:
        if stutter is not None:
            stutter.end()
        watch.close()
    after = _versions(client, victim)
    lost = sum(max(0, version - after.get(agent, 0)) for agent, version in before.items())
    changes = sum(max(0, after.get(agent, 0) - version) for agent, version in before.items())
    report = replace(report, lost=lost, changes=changes)
    return replace(report, problems=judge(report))


def _versions(client: Client, victim: Victim) -> dict[str, int]:
    found = client.recover_many(victim.agents)
    return {each.agent_id: each.version for each in found if isinstance(each, Recovered)}


def _measure(
    watch: Watch,
    victim: Victim,
    report: Report,
    before: Mapping[str, int],
    stutter: Stutter | None,
) -> Report:
    began_s, targets = time.monotonic(), report.targets
    type_, component = TYPES[report.kind], f"node:{victim.node_id}"
    watch.until(lambda: watch.failure(type_, component) is not None, patience_s(targets.detect_ms))
    seen = watch.failure(type_, component)
    if seen is None:
        return report
    at_s, failure = seen
    report = replace(
        report, detected_ms=milliseconds(at_s - began_s), failure_ids=(failure.failure_id,)
    )
    if stutter is not None:
        # No action makes a process run that is stopped.
        watch.await_action(failure.failure_id)
        stutter.end()
    not_on = victim.node_id if report.kind == NODE_FAILURE else ""

    def recovered() -> bool:
        if report.kind != NODE_FAILURE:
            result = watch.result(failure.failure_id)
            if result is None or result.status not in _GOOD:
                return False
        reports = _reports(watch, victim, not_on)
        return all(
            agent in reports and reports[agent].version > version
            for agent, version in before.items()
        )

    if watch.until(recovered, patience_s(targets.recover_ms)):
        report = replace(report, recovered_ms=milliseconds(time.monotonic() - began_s))
    return report


def _reports(watch: Watch, victim: Victim, not_on: str) -> dict[str, AgentReport]:
    """What the nodes that have the agents say of them."""
    found: dict[str, AgentReport] = {}
    for agent in victim.agents:
        route = watch.routes.get(agent)
        life = None if route is None or route.node_id == not_on else watch.life(route.node_id)
        if life is not None and agent in life.agents:
            found[agent] = life.agents[agent]
    return found
