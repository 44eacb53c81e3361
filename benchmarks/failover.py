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
from pathlib import Path
from typing import Any

import headwater
from benchmarks.failover_brokers import await_replicas, leader_rounds
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
    """All four parts, one after the other, on one cluster of three brokers."""
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
            _nodes(report, kafka, Path(scratch) / "nodes", rounds, "Counter", AGENTS)
            if not quick:
                _nodes(report, kafka, Path(scratch) / "large", LARGE_ROUNDS, "LargeCounter",
                       LARGE_AGENTS)  # fmt: skip
            config = _config(kafka)
            connect_fleet(config)
            await_replicas(config, kafka)
            _figures(report, "compactor", compactor_rounds(config, Path(scratch), rounds))
            _figures(report, "leader", leader_rounds(config, kafka, rounds))
    return report


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


def _nodes(
    report: Report, kafka: LocalKafka, scratch: Path, rounds: int, kind: str, agents: int
) -> None:
    """Rounds of killing one node of three: with all agents of the large kind, or a third."""
    config = _config(kafka)
    partitions = connect_fleet(config)
    await_replicas(config, kafka)
    large = kind == "LargeCounter"
    names = [f"{kind.lower()}-{n}" for n in range(agents)]
    with _fleet(config, scratch) as processes, Watcher(config, partitions) as watcher:
        ids = [f"node-{n}" for n in range(NODES)]
        for node in ids:
            _start_node(processes, node, kind)
        _until(lambda: _heard(config) >= set(ids), "all nodes beat")
        share = {ids[0]: names} if large else {n: names[i::NODES] for i, n in enumerate(ids)}
        place(config, share, kind)
        _until(lambda: watcher.epochs.keys() >= set(names), "each agent has made a change")
        takeovers: list[float] = []
        detections: list[float] = []
        for number in range(1 + rounds):
            say(f"{kind}: round {number or 'to warm up'}")
            time.sleep(SETTLE_S)
            victim = ids.pop(0)
            killed = _kill(processes, watcher, victim, residents(config)[victim])
            found = killed.pop("takeovers_ms")
            if number:  # brokers that have just started are compiled as they go
                detections.append(killed["detected_ms"])
                takeovers += found
                report.add_side(f"headwater {kind}", killed)
            ids.append(f"node-{NODES + number}")
            _start_node(processes, ids[-1], kind)
            _until(lambda: ids[-1] in _heard(config), "the new node beats")
            _rebalance(config, ids[-1], agents, everything=large)
        counts = _account(config, processes, names)
    name = "takeover_1000" if large else "takeover"
    report.add(
        **{
            f"{name}_p50_ms": percentile(takeovers, 0.5),
            f"{name}_p99_ms": percentile(takeovers, 0.99),
        },
    )
    if large:
        report.add_side("headwater accounts of the large", counts)
        report.add(lost_1000=counts["lost"], doubled_1000=counts["doubled"])
    else:
        report.add(detect_p50_ms=percentile(detections, 0.5), **counts)


def _start_node(processes: Processes, node: str, kind: str) -> None:
    replicas = ("--replicas", str(LARGE_AGENTS), "--replica-memory", "512")
    processes.start(node, "node", "run", f"benchmarks.failover_agents:{kind}", *replicas)


def _heard(config: Config) -> set[str]:
    from headwater.fleet.pulse import Pulse

    pulse = Pulse(config, history_s=2.0)
    try:
        while not pulse.caught_up:
            pulse.read(0.05)
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
        "detected_ms": (watcher.detected[victim] - died) * 1000,
        "p50_ms": percentile(takeovers, 0.5),
        "p99_ms": percentile(takeovers, 0.99),
        "takeovers_ms": takeovers,
    }


def _rebalance(config: Config, target: str, agents: int, *, everything: bool) -> None:
    """Move agents to the new node: all, or as many as make the nodes even."""
    there = residents(config)
    share = agents if everything else agents // NODES
    others = {node: names for node, names in there.items() if node != target and names}
    spare = {n: len(names) - (0 if everything else share) for n, names in others.items()}
    moved = {n: others[n][: max(0, count)] for n, count in spare.items() if count > 0}
    move(config, moved, target)


def _account(config: Config, processes: Processes, names: list[str]) -> dict[str, float]:
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
    return {"lost": lost, "doubled": doubled}


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not in {PATIENCE_S:g} s: {what}")
        time.sleep(0.02)
