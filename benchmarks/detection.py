"""What finding dead nodes costs among many, how soon they are found, and how often it is a false
alarm, by how irregular heartbeats are and how many are lost.

The detector's own classes on simulated heartbeats of the fast profile: no Kafka, and a clock of the
simulation's. Canaries come back after four milliseconds.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Iterator

from benchmarks.measure import spread
from benchmarks.report import Report, Target, say
from consumers.detectors.health import Canary, LocalHealth
from consumers.detectors.nodes import NodeFailures
from headwater.config import PROFILES
from headwater.fleet.records import AgentReport, Heartbeat, NodeMode

ROUNDS = 3
NODES = 10_000
PARTITIONS = 4
JITTERS = (0.0, 0.1, 0.3, 1.0)
LOSSES = (0.0, 0.01, 0.05, 0.2)
TARGETS = {"cpu_share": Target(at_most=0.5)}
_CANARY_S = 0.004
_STEP_S = 0.01
_FAST = PROFILES["fast"]
_INTERVAL_S = _FAST.heartbeat.total_seconds()
_LEASE_S = _FAST.lease.total_seconds()


class Simulation:
    """Nodes that beat, and a detector that hears them."""

    def __init__(self, nodes: int, *, jitter: float, loss: float, seed: int) -> None:
        self.rng = random.Random(seed)
        self.names = [f"node-{number}" for number in range(nodes)]
        self.jitter_s = jitter * _INTERVAL_S
        self.loss = loss
        self.canaries = {p: Canary(_INTERVAL_S, _LEASE_S) for p in range(PARTITIONS)}
        self.health = LocalHealth(_INTERVAL_S)
        self.failures = NodeFailures(self.canaries, self.health, lambda node, process: True)
        self.alarms: dict[str, list[float]] = {}
        self.cpu_s = 0.0
        self._began = [self.rng.random() * _INTERVAL_S for _ in self.names]
        self._heard = [0.0] * nodes
        self._number = 0

    def interval(self, number: int, living: range) -> list[tuple[float, int, Heartbeat]]:
        """What arrives of the heartbeats of one interval, in the order of arrival: each late by an
        exponentially distributed time, and never before the one that its node sent before it.
        """
        rng, found = self.rng, []
        for index in living:
            if self.loss and rng.random() < self.loss:
                continue
            late_s = rng.expovariate(1 / self.jitter_s) if self.jitter_s else 0.0
            at_s = self._began[index] + number * _INTERVAL_S + late_s
            at_s = self._heard[index] = max(at_s, self._heard[index])
            found.append((at_s, index, self._beat(index, number)))
        found.sort(key=lambda each: each[0])
        return found

    def _beat(self, index: int, number: int) -> Heartbeat:
        return Heartbeat(
            node_id=self.names[index],
            incarnation=b"0123456789abcdef",
            sequence=number,
            lease_ms=_FAST.lease_ms,
            sent_at=0,
            mode=NodeMode.RUNNING,
        )

    def run(self, first: int, count: int, living: range) -> None:
        """Simulate some intervals; ``cpu_s`` grows by what the detector took."""
        waiting: list[tuple[float, int, Heartbeat]] = []
        for number in range(first, first + count):
            waiting = sorted([*waiting, *self.interval(number, living)], key=lambda each: each[0])
            until_s = (number + 1) * _INTERVAL_S
            steps = list(self._steps(number * _INTERVAL_S, until_s, waiting))
            waiting = [each for each in waiting if each[0] >= until_s]
            began = time.process_time()
            for now_s, batch in steps:
                self._step(now_s, batch)
            self.cpu_s += time.process_time() - began

    def _steps(
        self, start_s: float, until_s: float, arrivals: list[tuple[float, int, Heartbeat]]
    ) -> Iterator[tuple[float, list[tuple[int, Heartbeat]]]]:
        at, now_s = 0, start_s
        while now_s < until_s - _STEP_S / 2:
            now_s += _STEP_S
            batch = []
            while at < len(arrivals) and arrivals[at][0] < min(now_s, until_s):
                batch.append((arrivals[at][1], arrivals[at][2]))
                at += 1
            yield now_s, batch

    def _step(self, now_s: float, batch: list[tuple[int, Heartbeat]]) -> None:
        """One round of the detector's loop."""
        failures = self.failures
        self.health.took(0.0, now_s)
        for index, beat in batch:
            failures.take(beat, index % PARTITIONS, now_s)
        wanted = failures.look(now_s)
        for partition, canary in self.canaries.items():
            if partition in wanted or now_s >= canary.sent_s + _INTERVAL_S:
                self._number += 1
                canary.sent(self._number, now_s)
                canary.came_back(self._number, now_s + _CANARY_S)
        if wanted:
            failures.look(now_s + _CANARY_S)
        for node_id in failures.failed:
            heard = self.alarms.setdefault(node_id, [])
            if not heard or heard[-1] < failures._nodes[node_id].arrivals.last_s:
                heard.append(now_s)


def run(*, quick: bool) -> Report:
    """The cost among 10,000 nodes, then the table among fewer."""
    report = Report(
        name="detection",
        question="what does finding dead nodes cost, how soon, and how often falsely?",
        quick=quick,
        targets=TARGETS,
    )
    seconds = 6 if quick else 30
    for number in range(1, ROUNDS + 1):
        say(f"round {number}: {NODES} nodes, {seconds} s of their heartbeats")
        report.add(**_cost(seconds, number))
    nodes, minutes = (200, 1) if quick else (1000, 2)
    table = []
    for jitter in JITTERS:
        for loss in LOSSES:
            say(f"jitter {jitter:.0%}, loss {loss:.0%}: {nodes} nodes, {minutes} min")
            row = _row(nodes, minutes, jitter, loss)
            table.append({"jitter": jitter, "loss": loss} | row)
            report.add_side(f"headwater, jitter {jitter:.0%}, loss {loss:.0%}", row)
    report.setup.update(
        nodes=NODES, interval_ms=_INTERVAL_S * 1000, lease_ms=_FAST.lease_ms,
        table_nodes=nodes, table_minutes=minutes, table=table,
    )  # fmt: skip
    report.notes += [
        "fast profile: 5 heartbeats a second of each node, lease 600 ms",
        "jitter: mean of the exponentially distributed lateness, as a share of the interval",
        "detect: from when the last heartbeat was sent, as a kill may come right after it",
        "cpu_share is without reading and decoding; decode_us is the CPU of decoding a heartbeat "
        "with 10 agents, which the whole process pays on top",
    ]
    return report


def _cost(seconds: int, seed: int) -> dict[str, float]:
    """CPU of one core that the detector takes among all nodes, of which some die."""
    simulation = Simulation(NODES, jitter=0.1, loss=0.01, seed=seed)
    intervals = round(seconds / _INTERVAL_S)
    simulation.run(0, 10, range(NODES))
    simulation.cpu_s = 0.0
    # What the simulation itself allocates is not the detector's to collect.
    gc.collect()
    gc.freeze()
    simulation.run(10, intervals, range(10, NODES))
    gc.unfreeze()
    beats = seconds / _INTERVAL_S * NODES
    return {
        "cpu_share": simulation.cpu_s / seconds,
        "beat_us": simulation.cpu_s / beats * 1e6,
        "decode_us": _decode_us(),
    }


def _decode_us() -> float:
    agents = [AgentReport(agent_id=f"agent-{n}", kind="Worker", epoch=1) for n in range(10)]
    record = Heartbeat(
        node_id="node-1",
        incarnation=b"0123456789abcdef",
        sequence=1,
        lease_ms=_FAST.lease_ms,
        sent_at=0,
        mode=NodeMode.RUNNING,
        agents=agents,
    )
    value, count = record.encode(), 2000
    began = time.process_time()
    for _ in range(count):
        Heartbeat.decode(value)
    return (time.process_time() - began) / count * 1e6


def _row(nodes: int, minutes: int, jitter: float, loss: float) -> dict[str, float]:
    """False alarms while all live, then how soon the death of each tenth node is found."""
    simulation = Simulation(nodes, jitter=jitter, loss=loss, seed=7)
    intervals = round(minutes * 60 / _INTERVAL_S)
    simulation.run(0, intervals, range(nodes))
    false = sum(map(len, simulation.alarms.values()))
    simulation.alarms.clear()
    dying = nodes // 10
    ended = {
        simulation.names[index]: simulation._began[index] + (intervals - 1) * _INTERVAL_S
        for index in range(dying)
    }
    simulation.run(intervals, round(4 / _INTERVAL_S), range(dying, nodes))
    delays = sorted(
        (simulation.alarms[node][0] - at_s) * 1000
        for node, at_s in ended.items()
        if node in simulation.alarms
    )
    return {
        "false_alarms_per_node_day": false / nodes / (minutes / 1440),
        "detect_p50_ms": spread(delays)["median"],
        "detect_p99_ms": delays[int(0.99 * (len(delays) - 1))],
        "found": len(delays) / dying,
    }
