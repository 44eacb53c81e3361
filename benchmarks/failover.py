"""How long things stand still when something is killed: a node, a compactor, a partition's leader.

All in the fast profile, with the settings under which `tests/fault/test_false_alarms.py` raises no
alarm. Times are those at which this process reads what was committed.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import headwater
from benchmarks.failover_brokers import forget_topics, leader_rounds, settle_brokers
from benchmarks.failover_compactor import compactor_rounds
from benchmarks.failover_fleet import (
    PATIENCE_S,
    Processes,
    Watcher,
    move,
    place,
    residents,
)
from benchmarks.measure import percentile
from benchmarks.report import Report, Target, say
from headwater.config import Config
from headwater.local import LocalKafka
from headwater.topics import DEFAULT_PARTITIONS, connect_fleet

ROUNDS, QUICK_ROUNDS = 10, 1
LARGE_ROUNDS = 3
AGENTS, LARGE_AGENTS = 300, 1000
NODES = 3
SETTLE_S = 3.0
COMMIT_MS = 1000
"""Between two commits of the compactor, on a machine that three brokers, three nodes and all else
share: at 250 ms its transactions take most of the brokers' time."""
TARGETS = {
    "takeover_p50_ms": Target(at_most=1000),
    "takeover_p99_ms": Target(at_most=2000),
    "lost": Target(at_most=0),
    "doubled": Target(at_most=0),
    "takeover_1000_p99_ms": Target(at_most=4000),
    "compactor_p50_ms": Target(at_most=1500),
    "leader_p50_ms": Target(at_most=1000),
}


def run(*, quick: bool) -> Report:
    """All four parts, one after the other, on clusters of three brokers."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    report = Report(
        name="failover",
        question="how long does an agent stand still when what carries it is killed?",
        quick=quick,
        targets=TARGETS,
        setup={"brokers": 3, "nodes": NODES, "agents": AGENTS, "rounds": rounds, "profile": "fast"},
    )
    if quick:
        report.notes.append("quick: one round of each, and no 1,000 agents on the dead node")
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as scratch:
        say("starting three brokers")
        with LocalKafka(NODES) as kafka:
            where = Path(scratch)
            _part(report, lambda: _third(report, kafka, where / "nodes", rounds))
            if not quick:
                _part(report, lambda: _thousand(report, kafka, where))
        # Brokers of their own: what the fleets above did to theirs must not count here.
        with LocalKafka(NODES) as fresh:
            _part(report, lambda: _others(report, fresh, where, rounds))
    return report


def _part(report: Report, measure: Callable[[], None]) -> None:
    """What goes wrong in one part costs the others nothing: its figures are missing."""
    try:
        measure()
    except RuntimeError as error:
        report.notes.append(f"not measured: {error}")
        say(str(error))


def _third(report: Report, kafka: LocalKafka, scratch: Path, rounds: int) -> None:
    """Kill a node with a third of the agents, again and again."""
    found = _kills(report, kafka, scratch, rounds, "Counter", AGENTS)
    report.add(
        takeover_p50_ms=percentile(found.takeovers_ms, 0.5),
        takeover_p99_ms=percentile(found.takeovers_ms, 0.99),
        detect_p50_ms=percentile(found.detections_ms, 0.5),
        lost=found.lost,
        doubled=found.doubled,
    )


def _thousand(report: Report, kafka: LocalKafka, scratch: Path) -> None:
    """Kill a node with all agents, large ones; a fleet of its own each time."""
    takeovers: list[float] = []
    wrong = 0
    for number in range(LARGE_ROUNDS):
        found = _kills(report, kafka, scratch / f"large-{number}", 0, "LargeCounter", LARGE_AGENTS)
        takeovers += found.takeovers_ms
        wrong += found.lost + found.doubled
    report.add(
        takeover_1000_p50_ms=percentile(takeovers, 0.5),
        takeover_1000_p99_ms=percentile(takeovers, 0.99),
        lost_or_doubled_1000=wrong,
    )


def _others(report: Report, kafka: LocalKafka, scratch: Path, rounds: int) -> None:
    """Kill compactors, and then leaders."""
    config = _config(kafka)
    connect_fleet(config)
    settle_brokers(config, kafka)
    _figures(report, "compactor", compactor_rounds(config, scratch, rounds))
    _figures(report, "leader", leader_rounds(config, kafka, rounds))


def _config(kafka: LocalKafka) -> Config:
    return Config(
        bootstrap_servers=kafka.bootstrap_servers,
        prefix=f"bench-failover-{uuid.uuid4().hex[:8]}.",
        partitions=DEFAULT_PARTITIONS,
        profile="fast",
        node_id="bench-failover",
    )


def _figures(report: Report, name: str, seconds: list[float]) -> None:
    ms = [s * 1000 for s in seconds]
    report.add(**{f"{name}_p50_ms": percentile(ms, 0.5), f"{name}_max_ms": max(ms)})
    report.add_side(f"headwater {name}", {"ms": [round(m, 1) for m in ms]})


@contextmanager
def _fleet(config: Config, scratch: Path) -> Iterator[Processes]:
    scratch.mkdir()
    with Processes(config, scratch) as processes:
        processes.start("compactor-1", "compact", "--commit-interval-ms", str(COMMIT_MS))
        processes.start("detector-1", "detect")
        processes.start("strategies-1", "heal")
        try:
            yield processes
        except BaseException:
            say(processes.logs())
            raise


@dataclass(slots=True)
class Found:
    """What came of killing nodes."""

    takeovers_ms: list[float] = field(default_factory=list)
    detections_ms: list[float] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0


def _kills(
    report: Report, kafka: LocalKafka, scratch: Path, rounds: int, kind: str, agents: int
) -> Found:
    """Kill one node of three: a round to warm up, and then ``rounds`` with a third of the agents;
    or, where that is 0, one with all of them.
    """
    config = _config(kafka)
    partitions = connect_fleet(config)
    settle_brokers(config, kafka)
    names = [f"{kind.lower()}-{n}" for n in range(agents)]
    found = Found()
    with _fleet(config, scratch) as processes, Watcher(config, partitions) as watcher:
        ids = [f"node-{n}" for n in range(NODES)]
        for node in ids:
            _start_node(processes, node, kind)
        _until(lambda: _heard(config) >= set(ids), "all nodes beat")
        share = {n: names[i::NODES] for i, n in enumerate(ids)} if rounds else {ids[0]: names}
        place(config, share, kind)
        _until(lambda: watcher.epochs.keys() >= set(names), "each agent has made a change")
        for number in range(rounds + 1):
            say(f"{kind}: round {number or 1 - bool(rounds)}")
            settle_brokers(config, kafka)
            time.sleep(SETTLE_S)
            victim = ids.pop(0)
            killed = _kill(processes, watcher, victim, residents(config)[victim])
            takeovers = killed.pop("takeovers_ms")
            if number or not rounds:  # brokers that have just started are compiled as they go
                found.detections_ms.append(killed["detected_ms"])
                found.takeovers_ms += takeovers
                report.add_side(f"headwater {kind}", killed)
            if number < rounds:
                ids.append(f"node-{NODES + number}")
                _start_node(processes, ids[-1], kind)
                _until(lambda: ids[-1] in _heard(config), "the new node beats")
                _rebalance(config, ids[-1], agents)
        found.lost, found.doubled = _account(config, processes, names)
    forget_topics(config)
    return found


def _start_node(processes: Processes, node: str, kind: str) -> None:
    replicas = ("--replicas", str(LARGE_AGENTS), "--replica-memory", "512")
    processes.start(node, "node", "run", f"benchmarks.failover_agents:{kind}", *replicas)


def _heard(config: Config) -> set[str]:
    from headwater.fleet.pulse import Pulse

    pulse = Pulse(config, history_s=2.0)
    try:
        pulse.catch_up()
        return {life.node_id for life in pulse.lives.values() if life.mode == "RUNNING"}
    finally:
        pulse.close()


def _kill(processes: Processes, watcher: Watcher, victim: str, moved: list[str]) -> dict[str, Any]:
    """Kill a node; how long until each of its agents made a change elsewhere."""
    before = {agent: watcher.epoch(agent) for agent in moved}
    died = processes.kill(victim)
    _until(
        lambda: all(watcher.epoch(agent) > before[agent] for agent in moved),
        f"each of the {len(moved)} agents of {victim} goes on elsewhere",
    )
    firsts = [
        min(seen.first_s for epoch, seen in watcher.epochs[agent].items() if epoch > before[agent])
        for agent in moved
    ]
    takeovers = [(first - died) * 1000 for first in firsts]
    return {
        "agents": len(moved),
        "detected_ms": (min(at for at in watcher.detected[victim] if at > died) - died) * 1000,
        "p50_ms": percentile(takeovers, 0.5),
        "p99_ms": percentile(takeovers, 0.99),
        "takeovers_ms": takeovers,
    }


def _rebalance(config: Config, target: str, agents: int) -> None:
    """Move as many agents to the new node as make the nodes even."""
    others = {node: names for node, names in residents(config).items() if node != target and names}
    spare = {node: len(names) - agents // NODES for node, names in others.items()}
    moved = {n: others[n][: max(0, count)] for n, count in spare.items() if count > 0}
    move(config, moved, target)


def _account(config: Config, processes: Processes, names: list[str]) -> tuple[int, int]:
    """Acknowledged steps that the states do not have, and steps that they have twice."""
    noted: dict[str, set[int]] = {name: set() for name in names}
    for line in processes.notes.read_text().splitlines():
        agent, number = line.split()
        noted[agent].add(int(number))
    lost = doubled = 0
    with headwater.connect(config) as client:
        for found in client.recover_many(names):
            if isinstance(found, headwater.Failed):
                raise found.error
            counted = Counter(found.state.messages)
            lost += len(noted[found.agent_id] - counted.keys())
            doubled += sum(times - 1 for times in counted.values())
    return lost, doubled


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not in {PATIENCE_S:g} s: {what}")
        time.sleep(0.02)
