"""Partition, exhaustion, timeout and degradation: each a function of what heartbeats said."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.detectors.degradation import Degradation, Series, quantile
from consumers.detectors.exhaustion import Exhaustion
from consumers.detectors.finding import Finding
from consumers.detectors.partitions import NetworkPartitions, split
from consumers.detectors.robust import rising, score, slope, spread
from consumers.detectors.timeouts import Timeouts
from consumers.detectors.unionfind import UnionFind
from headwater.fleet.pulse import Life
from headwater.fleet.records import AgentMode, LatencyBucket, Metric, Route, RouteStatus, Severity
from headwater.fleet.routes import RouteTable
from tests.support.fleetlings import (
    INTERVAL_S,
    LEASE_S,
    ONE,
    TWO,
    agent,
    has,
    kind,
    life,
    sees,
)

NAMES = st.sampled_from("abcdefgh")


@given(st.lists(st.tuples(NAMES, NAMES)))
def test_union_find_finds_the_connected_components(edges: list[tuple[str, str]]) -> None:
    """As spreading colours along edges does."""
    sets = UnionFind("abcdefgh")
    colour = {name: name for name in "abcdefgh"}
    for one, other in edges:
        sets.union(one, other)
        old, new = colour[one], colour[other]
        colour = {name: new if c == old else c for name, c in colour.items()}
    expected = {frozenset(n for n in colour if colour[n] == c) for c in colour.values()}
    found = sets.sets()
    assert set(found) == expected
    assert [len(s) for s in found] == sorted((len(s) for s in found), reverse=True)


@given(st.sets(st.tuples(NAMES, NAMES)))
def test_sides_are_the_components_of_links_that_work_both_ways(cut: set[tuple[str, str]]) -> None:
    """One that works one way only is cut."""
    nodes = {n: {o: (n, o) not in cut for o in "abcdefgh" if o != n} for n in "abcdefgh"}
    expected = UnionFind("abcdefgh")
    for n in nodes:
        for o in nodes:
            if n != o and nodes[n][o] and nodes[o][n]:
                expected.union(n, o)
    sides = split(nodes)
    assert [sides.majority, *sides.minorities] == expected.sets()


def test_of_two_halves_that_with_the_smallest_name_is_the_majority() -> None:
    """Both sides must think the same."""
    sides = split({n: {o: (n in "ab") == (o in "ab") for o in "abcd"} for n in "abcd"})
    assert (sides.majority, sides.minorities) == (frozenset("ab"), (frozenset("cd"),))


def partitioned(**peers: dict[str, bool]) -> tuple[dict[str, Life], NetworkPartitions]:
    lives = {name: life(name, peers=sees(**seen)) for name, seen in peers.items()}
    detector = NetworkPartitions(lives, INTERVAL_S, LEASE_S)
    for each in lives.values():
        detector.take(each)
    return lives, detector


def test_a_link_that_is_cut_one_way_makes_a_partition_once_it_has_lasted() -> None:
    """For a lease; and it is over once the nodes reach each other again for as long."""
    lives, detector = partitioned(
        a={"b": True, "c": True}, b={"a": True, "c": True}, c={"a": False, "b": False}
    )
    for each in lives.values():
        each.first_s = -10.0
    lives["c"].first_s = -1.0
    for now_s in (0.0, 0.7):
        for each in lives.values():
            each.read_s = now_s
        assert list(detector.findings(now_s)) == [], "one has just been started"
    lives["c"].first_s = -10.0
    for each in lives.values():
        each.read_s = 0.0
    assert list(detector.findings(0.0)) == []
    for each in lives.values():
        each.read_s = 0.7
    (finding,) = detector.findings(0.7)
    assert finding.component == "partition:c"
    assert finding.context["cut"] == [["c", "a"], ["c", "b"]]
    assert finding.context["majority"] == ["a", "b"]
    event = finding.event(0, "d")
    assert detector.cleared(event, 0.7) == ""
    healed = life("c", at_s=1.0, peers=sees(a=True, b=True))
    lives["c"].take(healed.beat, 1.0)
    detector.take(lives["c"])
    lives["a"].read_s = lives["b"].read_s = 1.0
    assert list(detector.findings(1.0)) == []
    assert detector.cleared(event, 1.0) == ""
    for each in lives.values():
        each.read_s = 1.7
    assert list(detector.findings(1.7)) == []
    assert "reach each other" in detector.cleared(event, 1.7)


def test_a_silent_node_is_no_partition() -> None:
    """However unreachable the others find it."""
    lives, detector = partitioned(a={"b": True, "c": False}, b={"a": True, "c": False}, c={})
    for now_s in (0.0, 0.5, 1.0, 2.0):
        lives["a"].read_s = lives["b"].read_s = now_s
        found = list(detector.findings(now_s))
    assert found == []


def fed(detector: Exhaustion, lives: dict[str, Life], samples: Iterable[float]) -> list[Finding]:
    found: list[Finding] = []
    for number, memory in enumerate(samples):
        lives["n"] = life(
            resources=has(memory=memory), sequence=number, sent_at=1_000_000 + 1000 * number
        )
        detector.take(lives["n"])
        found = list(detector.findings(0.0))
    return found


def test_memory_by_level() -> None:
    """85 % twice in a row is high, 95 % critical, and below 80 % it is over: with one id."""
    lives: dict[str, Life] = {}
    detector = Exhaustion(lives)
    assert fed(detector, lives, [0.5, 0.86]) == []
    (high,) = fed(detector, lives, [0.5] * 10 + [0.86, 0.86])
    assert (high.severity, high.component, high.subject) == (Severity.HIGH, "node:n", "memory")
    detector = Exhaustion(lives)
    (critical,) = fed(detector, lives, [0.5] * 10 + [0.86, 0.86, 0.96])
    assert (critical.severity, critical.failure_id) == (Severity.CRITICAL, high.failure_id)
    assert detector.cleared(critical.event(0, "d"), 0.0) == ""
    fed(detector, lives, [0.5] * 20 + [0.82] * 3)
    assert detector.cleared(critical.event(0, "d"), 0.0) == ""
    detector = Exhaustion(lives)
    fed(detector, lives, [0.6] * 20)
    assert detector.cleared(critical.event(0, "d"), 0.0) != ""


def test_memory_by_when_it_is_full() -> None:
    """At 1 % a second it is full in 40 s from 60 %; noise around a level never is."""
    lives: dict[str, Life] = {}
    (finding,) = fed(Exhaustion(lives), lives, [0.5 + 0.01 * n for n in range(10)])
    assert finding.context["full_in_s"] == pytest.approx(41, abs=2)
    assert fed(Exhaustion(lives), lives, [0.6, 0.62, 0.58, 0.61, 0.64]) == []
    rng = random.Random(3)
    for _ in range(20):
        assert fed(Exhaustion(lives), lives, [0.7 + rng.gauss(0, 0.03) for _ in range(40)]) == []


def test_a_slow_leak_shows_in_the_metrics() -> None:
    """Full in ten minutes: too slow to be seen in half a minute of heartbeats."""
    lives = {"n": life(resources=has(memory=0.6))}
    detector = Exhaustion(lives)
    for number in range(60):
        share = 0.6 + 0.003 * number
        start = 5000 * number
        detector.take_metric(
            Metric(
                name="memory_share", component="node:n", window_start=start, window_ms=5000,
                count=5, sum=5 * share, min=share, max=share, p50=share,
            )
        )  # fmt: skip
    (finding,) = detector.findings(0.0)
    assert finding.subject == "memory"
    assert finding.context["full_in_s"] < 600


def test_a_node_that_was_started_again_begins_anew() -> None:
    """What its former process used is nobody's any more."""
    lives: dict[str, Life] = {}
    detector = Exhaustion(lives)
    assert fed(detector, lives, [0.96])
    lives["n"] = life(resources=has(memory=0.1), incarnation=TWO, sequence=1)
    detector.take(lives["n"])
    assert list(detector.findings(0.0)) == []


def hung(**fields: Any) -> tuple[dict[str, Life], Timeouts, RouteTable]:
    lives = {"n": life(agents=[agent(**fields)], kinds=[kind(deadline_ms=1000)], sent_at=10_000)}
    routes = RouteTable()
    detector = Timeouts(lives, routes)
    detector.take(lives["n"])
    return lives, detector, routes


def test_a_step_beyond_its_deadline_is_a_timeout() -> None:
    """A lease of grace is its node's, to end it by itself; over once the step or the owner is
    another one.
    """
    lives, detector, _ = hung(epoch=3, step=7, step_started_at=8500)
    detector.take(lives["n"])
    assert list(detector.findings(0.0)) == []
    lives, detector, routes = hung(epoch=3, step=7, step_started_at=8300)
    assert list(detector.findings(0.0)) == [], "its node may just have been held up"
    detector.take(lives["n"])
    (finding,) = detector.findings(0.0)
    assert (finding.component, finding.subject) == ("agent:a", "step")
    event = finding.event(0, "d")
    assert detector.cleared(event, 0.0) == ""
    lives["n"].agents["a"] = agent(epoch=3, step=8, step_started_at=0)
    assert "end" in detector.cleared(event, 0.0)
    lives["n"].agents["a"] = agent(epoch=4)
    assert "anew" in detector.cleared(event, 0.0)
    lives["n"].agents.clear()
    assert detector.cleared(event, 0.0) == ""
    routes.take("a", Route(agent_id="a", kind="K", node_id="n", status=RouteStatus.STOPPED))
    assert "not to run" in detector.cleared(event, 0.0)


def test_steps_that_time_out_again_and_again_are_a_timeout() -> None:
    """Those that fail for another reason are not; over with the first step that is completed."""
    error = "a step took longer than 1 s"
    state = AgentMode.BACKING_OFF
    _, detector, _ = hung(restarts=5, state=state, last_error="ValueError()")
    assert list(detector.findings(0.0)) == []
    lives, detector, _ = hung(epoch=4, step=7, version=9, restarts=2, state=state, last_error=error)
    (finding,) = detector.findings(0.0)
    again = hung(epoch=6, step=7, version=9, restarts=4, state=state, last_error=error)
    assert [f.failure_id for f in again[1].findings(0.0)] == [finding.failure_id]
    event = finding.event(0, "d")
    lives["n"].agents["a"] = agent(epoch=6, step=7, restarts=3)
    assert detector.cleared(event, 0.0) == ""
    lives["n"].agents["a"] = agent(epoch=7, step=8, restarts=0)
    assert "completed" in detector.cleared(event, 0.0)


def test_a_clock_that_jumps_is_no_stall() -> None:
    """A node whose wall clock goes on by an hour has agents that stand still for no longer."""
    lives: dict[str, Life] = {}
    detector = Timeouts(lives, RouteTable())
    for second in range(40):
        jump_ms = 3_600_000 if second >= 35 else 0
        report = agent(epoch=1, version=min(second, 30))
        lives["n"] = life(agents=[report], at_s=float(second), sent_at=second * 1000 + jump_ms)
        detector.take(lives["n"])
        assert not list(detector.findings(float(second)))


def test_a_version_that_stalls_is_a_timeout_against_its_own_pace() -> None:
    """Of an agent that changed every second a minute of nothing is one; of one that always took
    its time, or was told to pause, it is not.
    """
    for gap_ms, state, expected in (
        (1000, AgentMode.RUNNING, True),
        (5000, AgentMode.RUNNING, False),
        (1000, AgentMode.PAUSED, False),
    ):
        lives: dict[str, Life] = {}
        detector = Timeouts(lives, RouteTable())
        now_ms = 0
        for version in range(25):
            now_ms = gap_ms * version
            own = agent(epoch=1, version=version)
            lives["n"] = life(agents=[own], at_s=now_ms / 1000, sent_at=now_ms)
            detector.take(lives["n"])
        for _ in range(62):
            now_ms += 1000
            report = agent(epoch=1, version=24, state=state)
            lives["n"] = life(agents=[report], at_s=now_ms / 1000, sent_at=now_ms)
            detector.take(lives["n"])
        now_s = now_ms / 1000
        found = list(detector.findings(now_s))
        assert bool(found) == expected
        if found:
            assert found[0].subject == "version"
            own = agent(epoch=1, version=25)
            lives["n"] = life(agents=[own], at_s=now_s, sent_at=now_ms)
            assert "changes again" in detector.cleared(found[0].event(0, "d"), now_s)


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=60), st.floats(-1e9, 1e9))
def test_a_wild_value_does_not_move_median_and_deviation_far(
    values: list[float], wild: float
) -> None:
    """The median with it lies between two neighbours of the median without it."""
    middle, deviation = spread(values)
    moved, _ = spread([*values, wild])
    assert deviation >= 0
    assert min(values) <= moved <= max(values) or len(values) < 2
    assert score(middle, values, 1.0) == 0


@given(st.floats(-100, 100), st.floats(-100, 100), st.integers(0, 2), st.integers(5, 30))
def test_the_slope_of_a_line_stands_some_wild_points(
    pace: float, start: float, wild: int, count: int
) -> None:
    """Theil-Sen, where least squares would be far off."""
    points = [(float(n), start + pace * n) for n in range(count + 6)]
    for number in range(wild):
        points[2 + number] = (points[2 + number][0], 1e6)
    assert slope(points) == pytest.approx(pace, abs=1e-6)
    assert not wild or rising(points) > 0 or pace <= 0


def test_quantiles_of_a_histogram() -> None:
    """Buckets are 9 % wide, so the middle of one is within 5 %."""
    counts = {80: 50, 90: 45, 120: 5}
    assert quantile(counts, 0.5) == pytest.approx(2 ** (80 / 8), rel=0.05)
    assert quantile(counts, 0.9) == pytest.approx(2 ** (90 / 8), rel=0.05)
    assert quantile(counts, 0.99) == pytest.approx(2 ** (120 / 8), rel=0.05)


def test_a_baseline_is_each_series_own() -> None:
    """Three windows of twice the usual are bad, one is not; what is bad is not learned."""
    rng = random.Random(11)
    series = Series(1, 5.0)
    for number in range(40):
        series.take(number, rng.gauss(100, 5))
    series.take(40, 260)
    series.take(41, 101)
    assert not series.degraded
    for number in range(42, 45):
        series.take(number, 260)
    assert series.degraded
    assert series.onset_ms == 42
    for number in range(45, 80):
        series.take(number, 260)
    assert series.limit() < 230
    for number in range(80, 300):
        series.take(number, 260)
    assert not series.degraded, "it is usual by now"


def slow(lives: dict[str, Life], detector: Degradation, windows: Iterable[tuple[int, int]]) -> None:
    """Windows of (steps, bucket of how long they took), while one agent is at work."""
    steps, latency = 0, dict[int, int]()
    for count, bucket in windows:
        steps += count
        latency[bucket] = latency.get(bucket, 0) + count
        at_ms = 1000 + 2000 * len(_SENT)
        _SENT.append(at_ms)
        buckets = [LatencyBucket(bucket=b, count=n) for b, n in latency.items()]
        lives["n"] = life(
            agents=[agent(step_started_at=at_ms)],
            kinds=[kind(steps=steps, latency=buckets)],
            sent_at=at_ms,
        )
        detector.take(lives["n"])


_SENT: list[int] = []


def test_slow_steps_and_few_steps_are_degradation() -> None:
    """Against what the same node did before; over after three good windows."""
    lives: dict[str, Life] = {}
    detector = Degradation(lives)
    usual = [(20, 40)] * 30
    slow(lives, detector, [*usual, (20, 60), (20, 60)])
    assert list(detector.findings(0.0)) == []
    detector, lives["n"] = Degradation(lives), lives["n"]
    slow(lives, detector, [*usual, *[(20, 60)] * 4])
    (finding,) = detector.findings(0.0)
    assert (finding.component, finding.subject) == ("node:n", "step_ms:K")
    event = finding.event(0, "d")
    assert detector.cleared(event, 0.0) == ""

    detector = Degradation(lives)
    slow(lives, detector, [*usual, *[(1, 40)] * 4])
    assert [f.subject for f in detector.findings(0.0)] == ["steps_per_s:K"]

    detector = Degradation(lives)
    slow(lives, detector, usual)
    assert "again" in detector.cleared(event, 0.0)
    assert ONE
