"""NODE_FAILURE without Kafka: time, brokers and the detector's own stalls are simulated."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from consumers.detectors.health import Canary, LocalHealth
from consumers.detectors.nodes import NodeFailures
from headwater.fleet.records import FailureEvent, NodeMode
from tests.support.fleetlings import INTERVAL_S, LEASE_S, TWO, beat

_STEP_S = 0.01


class World:
    """One partition, one detector and some nodes, a hundredth of a second at a time.

    ``gap`` says how long after a beat a node sends the next; ``broker_until_s`` is until when no
    record gets through; ``asleep_until_s`` until when the detector does nothing.
    """

    def __init__(self, *nodes: str, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.now_s = 0.0
        self.canary = Canary(INTERVAL_S, LEASE_S)
        self.health = LocalHealth(INTERVAL_S)
        self.has_work = True
        self.failures = NodeFailures({0: self.canary}, self.health, lambda node, inc: self.has_work)
        self.broker_until_s = 0.0
        self.asleep_until_s = 0.0
        self.latency_s = 0.004
        self.next_beat_s = dict.fromkeys(nodes, 0.0)
        self.dead: set[str] = set()
        self.sequences = dict.fromkeys(nodes, 0)
        self.fields: dict[str, dict[str, Any]] = {node: {} for node in nodes}
        self.failed_at: dict[str, float] = {}
        self._log: list[tuple[float, int, str, int]] = []
        self._number = count(1)
        self._loop_s = 0.0

    def gap(self, node: str) -> float:
        return INTERVAL_S

    def run(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += _STEP_S
            self._beat()
            if self.now_s >= self.asleep_until_s:
                self._detect()

    def _write(self, who: str, sequence: int) -> None:
        at_s = max(self.now_s, self.broker_until_s) + self.latency_s
        heapq.heappush(self._log, (at_s, next(self._number), who, sequence))

    def _beat(self) -> None:
        for node in self.next_beat_s.keys() - self.dead:
            if self.now_s >= self.next_beat_s[node]:
                self.next_beat_s[node] = self.now_s + self.gap(node)
                self.sequences[node] += 1
                self._write(node, self.sequences[node])

    def _detect(self) -> None:
        late_s = self.now_s - self._loop_s - _STEP_S
        self._loop_s = self.now_s
        self.health.took(late_s, self.now_s)
        if late_s > INTERVAL_S / 2:
            self.failures.was_away(late_s)
        for who, sequence in self._read():
            if who:
                record = beat(who, sequence, **self.fields[who])
                self.failures.take(record, 0, self.now_s)
            else:
                self.canary.came_back(sequence, self.now_s)
        wanted = self.failures.look(self.now_s)
        if wanted or self.now_s >= self.canary.sent_s + INTERVAL_S:
            number = next(self._number)
            self.canary.sent(number, self.now_s)
            self._write("", number)
        for node in self.failures.failed:
            self.failed_at.setdefault(node, self.now_s)

    def _read(self) -> Iterator[tuple[str, int]]:
        while self._log and self._log[0][0] <= self.now_s:
            _, _, who, sequence = heapq.heappop(self._log)
            yield who, sequence


def test_a_killed_node_is_found_soon_after_its_lease() -> None:
    """0.6 s is its lease, and a quarter of an interval comes on top; nobody else is blamed."""
    world = World("a", "b", "c")
    world.run(10.0)
    world.dead.add("b")
    last_s = world.next_beat_s["b"] - INTERVAL_S
    world.run(3.0)
    assert set(world.failed_at) == {"b"}
    assert LEASE_S < world.failed_at["b"] - last_s < LEASE_S + 0.12


def test_the_failure_has_the_id_that_the_last_heartbeat_makes() -> None:
    """So that another detector, with another clock and another past, gives it the same."""
    one, other = World("a"), World("a", seed=2)
    other.latency_s = 0.03
    other.run(0.05)
    for world in (one, other):
        world.run(4.0)
        world.dead.add("a")
        world.sequences["a"] = 17
        world._write("a", 17)
        world.run(3.0)
    (a,), (b,) = one.failures.findings(0), other.failures.findings(0)
    assert (a.failure_id, len(a.failure_id)) == (b.failure_id, 32)
    assert a.context["sequence"] == 17


def test_a_node_that_is_heard_of_again_has_recovered() -> None:
    """By a later heartbeat of the same process, or by another process of its name."""
    world = World("a")
    world.run(2.0)
    world.dead.add("a")
    world.run(2.0)
    (finding,) = world.failures.findings(0)
    event: FailureEvent = finding.event(0, "d")
    assert world.failures.cleared(event, world.now_s) == ""
    world.dead.clear()
    world.run(0.5)
    assert "again" in world.failures.cleared(event, world.now_s)
    assert list(world.failures.findings(0)) == []
    world.dead.add("a")
    world.run(2.0)
    (later,) = world.failures.findings(0)
    assert later.failure_id != finding.failure_id
    assert "again" in world.failures.cleared(event, world.now_s), "it was back in between"
    assert world.failures.cleared(later.event(0, "d"), world.now_s) == ""
    world.dead.clear()
    world.fields["a"] = {"incarnation": TWO}
    world.sequences["a"] = 0
    world.run(0.5)
    assert world.failures.cleared(event, world.now_s) == "", "it has agents that wait"
    world.has_work = False
    assert "started again" in world.failures.cleared(event, world.now_s)
    world.dead.add("a")
    world.run(2.0)
    (second,) = world.failures.findings(0)
    assert second.failure_id != finding.failure_id


def test_a_process_that_another_one_follows_has_failed() -> None:
    """However soon: its agents do not go on by themselves. Not so one that said that it ends."""
    world = World("a", "b")
    world.run(2.0)
    world.fields["b"] = {"mode": NodeMode.DRAINING}
    world.run(0.5)
    assert list(world.failures.findings(world.now_s)) == []
    for node in ("a", "b"):
        world.fields[node] = {"incarnation": TWO}
        world.sequences[node] = 0
    world.run(0.5)
    (finding,) = world.failures.findings(world.now_s)
    assert finding.component == "node:a"
    assert finding.context["incarnation"] != TWO.hex()
    event = finding.event(0, "d")
    assert world.failures.cleared(event, world.now_s) == ""
    world.has_work = False
    assert "started again" in world.failures.cleared(event, world.now_s)


def test_stalls_of_300_ms_are_no_failure() -> None:
    """Every few beats, with some jitter on top of each, for ten minutes."""

    class Stalling(World):
        def gap(self, node: str) -> float:
            stall_s = 0.3 if self.rng.random() < 0.1 else 0.0
            return INTERVAL_S + stall_s + self.rng.uniform(0, 0.05)

    world = Stalling("a", "b", "c")
    world.run(600.0)
    assert world.failed_at == {}
    world.dead.add("a")
    killed_s = world.now_s
    world.run(3.0)
    assert world.failed_at["a"] - killed_s < 2.0


@pytest.mark.parametrize("outage_s", [0.2, 0.5, 0.9, 1.6, 12.6])
def test_a_brokers_failover_is_no_failure(outage_s: float) -> None:
    """All nodes of the partition are silent, and so is the canary; they take up to half a second
    longer than the canary to find the new leader, if it was away for so long.
    """
    world = World("a", "b", "c")
    world.run(10.0)
    for _ in range(5):
        world.broker_until_s = world.now_s + outage_s
        for number, node in enumerate(world.next_beat_s):
            world.next_beat_s[node] = world.broker_until_s + min(0.25, outage_s / 2) * number
        world.run(outage_s + 8.0)
        assert world.failed_at == {}


def test_a_node_that_dies_in_a_failover_is_found_after_it() -> None:
    """A little later, but it is found."""
    world = World("a", "b")
    world.run(10.0)
    world.broker_until_s = world.now_s + 0.9
    world.dead.add("a")
    world.run(0.9)
    back_s = world.now_s
    world.run(5.0)
    assert set(world.failed_at) == {"a"}
    assert world.failed_at["a"] - back_s < 3.0


@pytest.mark.parametrize("asleep_s", [0.1, 0.5, 3.0, 60.0])
def test_a_detector_that_was_stopped_blames_nobody(asleep_s: float) -> None:
    """What was written meanwhile lies in the log, or nodes were stopped with it."""
    world = World("a", "b")
    world.run(5.0)
    for stopped_too in (False, True):
        world.asleep_until_s = world.now_s + asleep_s
        if stopped_too:
            world.next_beat_s = dict.fromkeys(world.next_beat_s, world.asleep_until_s + 0.2)
        world.run(asleep_s + 4.0)
        assert world.failed_at == {}
    world.dead.add("a")
    world.run(4.0)
    assert set(world.failed_at) == {"a"}


def test_a_detector_that_is_cut_off_blames_nobody() -> None:
    """Nothing comes any more, canaries least of all; and back again, it waits for the nodes."""
    world = World("a", "b")
    world.run(5.0)
    world.broker_until_s = world.now_s + 30
    world.run(29.9)
    assert world.failed_at == {}
    world.run(10.0)
    assert world.failed_at == {}


def test_a_starved_detector_is_more_patient() -> None:
    """Lifeguard: who comes late himself gives others more time, up to three times as much."""
    world = World("a")
    world.run(5.0)
    node = world.failures._nodes["a"]
    usual_s = world.failures.patience_s(node, world.now_s)
    for _ in range(20):
        world.asleep_until_s = world.now_s + 0.15
        world.run(0.2)
    assert world.health.stretch == 3.0
    assert world.failures.patience_s(node, world.now_s) >= 3 * usual_s
    world.run(4.0)
    assert world.health.stretch == 1.0


def test_a_node_that_has_handed_everything_over_may_go() -> None:
    """One that dies in the midst of it may not."""
    for with_work, expected in ((False, set()), (True, {"a"})):
        world = World("a", "b")
        world.has_work = with_work
        world.fields["a"] = {"mode": NodeMode.DRAINING}
        world.run(2.0)
        world.dead.add("a")
        world.run(3.0)
        assert set(world.failed_at) == expected


def test_processes_without_a_node_runtime_are_not_watched() -> None:
    """Nobody could be told to take their agents over."""
    world = World("a")
    world.fields["a"] = {"mode": NodeMode.CLIENT}
    world.run(2.0)
    world.dead.add("a")
    world.run(3.0)
    assert (world.failed_at, len(world.failures)) == ({}, 0)


def test_a_node_that_comes_and_goes_is_watched_each_time() -> None:
    """Also after it was suspected, and after it was forgotten."""
    world = World("a")
    for times in range(1, 6):
        world.run(3.0)
        world.dead.add("a")
        world.run(2.0)
        assert set(world.failed_at) == {"a"}, times
        world.failed_at.clear()
        world.dead.clear()
        if times == 3:
            world.failures.forget("a")
    assert len(world.failures._heap) < 10


def test_a_lost_canary_is_counted_from_when_it_was_sent() -> None:
    """One that never comes back holds nobody up for ever, and shows how long the outage was."""
    canary = Canary(INTERVAL_S, LEASE_S)
    canary.sent(1, 0.0)
    canary.sent(2, 0.9)
    canary.came_back(2, 0.91)
    assert canary.proven_s == 0.9
    assert canary.held_up_s(1.0) == pytest.approx(0.91)
    assert canary.allowance_s(1.0) == pytest.approx(1.82)
    assert canary.allowance_s(60.0) == pytest.approx(0.0)


def test_silence_is_proved_by_a_canary_that_was_sent_after_it() -> None:
    """One that was sent before the heartbeat was overdue says nothing, whenever it comes back."""
    canary, health = Canary(INTERVAL_S, LEASE_S), LocalHealth(INTERVAL_S)
    failures = NodeFailures({0: canary}, health, lambda node, process: True)
    failures.take(beat("a"), 0, 0.0)
    canary.sent(1, 0.6)
    assert failures.look(0.66) == {0}
    canary.came_back(1, 0.67)
    assert failures.look(0.67) == {0}
    canary.sent(2, 0.67)
    assert failures.look(0.68) == set()
    assert not failures.failed
    canary.came_back(2, 0.69)
    failures.look(0.69)
    assert set(failures.failed) == {"a"}


def test_a_gap_of_late_is_no_reason_for_alarm_when_it_comes_again() -> None:
    """Nor one that is a third longer; for that long a node is waited for, until it is forgotten."""
    world = World("a")
    world.run(30.0)
    node = world.failures._nodes["a"]
    usual_s = world.failures.patience_s(node, world.now_s)
    world.next_beat_s["a"] += 0.38
    world.run(1.0)
    assert world.failures.patience_s(node, world.now_s) > 1.1 * usual_s
    world.run(10.0)
    assert world.failures.patience_s(node, world.now_s) == pytest.approx(usual_s)


def test_a_detector_that_is_late_all_the_time_finds_the_dead_all_the_same() -> None:
    """On a machine that is overloaded: later, for the time in which it slept does not count."""
    world = World("a", "b")
    world.run(5.0)
    world.dead.add("a")
    killed_s = world.now_s
    for _ in range(30):
        world.asleep_until_s = world.now_s + 0.45
        world.run(0.5 + world.rng.uniform(0, 0.3))
    assert set(world.failed_at) == {"a"}
    assert world.failed_at["a"] - killed_s < 12.0
