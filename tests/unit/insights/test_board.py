"""Windows: what is counted, when it is published, and that nothing counts twice."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.fleet.records import Metric
from streams.insights.board import Board, Windows
from streams.insights.cells import metric_key
from streams.insights.samples import OutcomeSample, Tick
from tests.support.insights import T0, WINDOWS, Player, beat, commit, made_up

FAR = T0 + 10**6


def metric(
    found: dict[str, Metric], name: str, component: str, start: int, of: int = 1000
) -> Metric:
    """One of the metrics; ``start`` is relative."""
    return found[f"{component}|{name}|{of}|{T0 + start}"]


def test_counters_are_differences() -> None:
    """Of a process's cumulative counters, from its beginning, for node, kind and fleet."""
    log = [beat("n1", 1, 100, steps=3), beat("n1", 2, 900, steps=5), beat("n1", 3, 1500, steps=9)]
    found = Player().play([*log, beat("n2", 1, 200, steps=1), Tick(FAR)])
    for component, steps in (("node:n1", 5), ("node:n2", 1), ("kind:Worker", 6), ("fleet", 6)):
        assert metric(found, "steps", component, 0).count == steps
    assert metric(found, "steps", "node:n1", 1000).count == 4
    assert metric(found, "steps", "fleet", 0, 4000).count == 10
    assert metric(found, "steps", "fleet", -3000, 4000).count == 6
    assert metric(found, "steps_per_s", "fleet", 0, 4000).p50 == 2.5


def test_what_came_before_is_not_counted() -> None:
    """A process that is met in the midst of its life, or again after a long silence."""
    found = Player().play(
        [beat("n1", 900, 0, steps=5000), beat("n1", 901, 1000, steps=5002), Tick(FAR)]
    )
    assert metric(found, "steps", "node:n1", 0).count == 0
    assert metric(found, "steps", "node:n1", 1000).count == 2
    player = Player()
    player.play([beat("n1", 1, 0, steps=2), Tick(T0 + 90_000)])
    found = player.play([beat("n1", 2, 90_100, steps=9000), Tick(FAR)])
    assert metric(found, "steps", "node:n1", 90_000).count == 0


def test_repeats_and_late_ones_count_once() -> None:
    """A beat that is not newer than the last of its process says nothing new."""
    log = [beat("n1", 1, 100, steps=3), beat("n1", 3, 300, steps=7), beat("n1", 2, 200, steps=5)]
    found = Player().play([*log, *log, Tick(FAR)])
    assert metric(found, "steps", "node:n1", 0).count == 7


def test_two_processes_of_one_name() -> None:
    """The counters of a zombie and those of its successor are kept apart."""
    log = [
        beat("n1", 1, 100, steps=10, life="aa"),
        beat("n1", 1, 200, steps=1, life="bb"),
        beat("n1", 2, 300, steps=11, life="aa"),
        beat("n1", 2, 400, steps=4, life="bb"),
    ]
    assert metric(Player().play([*log, Tick(FAR)]), "steps", "node:n1", 0).count == 15


def test_levels_are_those_at_the_end_of_the_window() -> None:
    """The total over the nodes, each as it was last; agents that left do not count."""
    log = [
        beat("n1", 1, 100, agents={"a": 1, "b": 1, "c": 1}),
        beat("n2", 1, 200, agents={"d": 1}),
        beat("n1", 2, 1100, agents={"a": 1}),
        beat("n2", 2, 1200, agents={"d": 1, "b": 2, "c": 2}),
    ]
    found = Player().play([*log, Tick(FAR)])
    first, both = metric(found, "states", "fleet", 0), metric(found, "states", "fleet", 0, 4000)
    assert (first.count, first.sum, first.min, first.max) == (2, 4, 1, 3)
    assert (both.count, both.sum, both.min, both.max) == (2, 4, 1, 3)
    assert metric(found, "states", "node:n1", 1000).sum == 1
    assert metric(found, "states", "kind:Worker", 1000).sum == 4


def test_changes_are_versions_that_went_up_here() -> None:
    """What an agent did elsewhere, before it came, is not this node's."""
    log = [
        beat("n1", 1, 100, agents={"a": 40}),
        beat("n1", 2, 600, agents={"a": 44, "b": 70}),
        beat("n1", 3, 900, agents={"a": 45, "b": 71}),
    ]
    found = Player().play([*log, Tick(FAR)])
    assert metric(found, "changes", "kind:Worker", 0).count == 6


def test_latency_and_resources_are_distributions() -> None:
    """Percentiles of buckets are within half a bucket, those of samples exact."""
    log = [
        beat("n1", 1, 100, steps=100, latency={24: 90, 80: 10}, cpu=0.5),
        beat("n1", 2, 500, steps=100, latency={24: 90, 80: 10}, cpu=1.5),
    ]
    found = Player().play([*log, Tick(FAR)])
    latency = metric(found, "step_ms", "node:n1", 0)
    assert latency.count == 100
    assert latency.p50 == pytest.approx(8.0, rel=0.1)
    assert latency.p95 == pytest.approx(1024.0, rel=0.1)
    assert latency.min <= latency.p50 <= latency.p99 <= latency.max
    cpu = metric(found, "cpu", "node:n1", 0)
    assert (cpu.count, cpu.sum, cpu.min, cpu.max, cpu.p50) == (2, 2.0, 0.5, 1.5, 0.5)
    assert "kind:Worker|cpu|1000" not in " ".join(found)


def test_an_aborted_commit_gives_way() -> None:
    """The one that takes its place counts, though it may belong to another window."""
    log = [commit(0, 0, 100, 10), commit(0, 10, 900, 5), commit(0, 10, 1200, 8), commit(1, 0, 1, 1)]
    found = Player().play([*log, Tick(T0 + 1500), commit(0, 10, 2100, 9), Tick(FAR)])
    assert metric(found, "events", "fleet", 0).count == 11
    assert metric(found, "commits", "fleet", 0).count == 2
    assert metric(found, "events", "fleet", 1000).count == 0
    assert metric(found, "events", "fleet", 2000).count == 9
    assert metric(found, "events", "fleet", 0, 4000).count == 20


def test_recoveries_count_for_what_they_were_about() -> None:
    """And for the fleet."""
    log = [
        OutcomeSample("f/1", "node:n1", T0, True, 300.0),
        OutcomeSample("g/1", "agent:x", T0, False, 100.0),
        OutcomeSample("f/1", "node:n1", T0, True, 300.0),
    ]
    found = Player().play([*log, Tick(FAR)])
    assert metric(found, "recoveries", "fleet", 0).count == 2
    assert metric(found, "recoveries_failed", "fleet", 0).count == 1
    assert metric(found, "recovery_ms", "node:n1", 0).p50 == 300.0


def test_a_window_is_published_when_it_is_over() -> None:
    """Not before, once, and again where something comes late."""
    board = Board(WINDOWS)
    board.take(beat("n1", 1, 100, steps=1))
    assert board.tick(T0 + 1400) == []
    first = board.tick(T0 + 1500)
    assert {(m.window_ms, m.window_start) for m in first} == {(1000, T0), (4000, T0 - 3000)}
    board.settle(T0 + 1500)
    assert board.tick(T0 + 1600) == []
    board.take(beat("n1", 2, 950, steps=4))
    again = {metric_key(m): m for m in board.tick(T0 + 1700)}
    assert metric(again, "steps", "node:n1", 0).count == 4


def test_nothing_is_kept_for_ever() -> None:
    """Panes go when they are old, and nodes that are gone for an hour."""
    player = Player()
    player.play([beat("n1", 1, 100, steps=1), Tick(T0 + 2000)])
    assert {key.partition("|")[0] for key in player.records} == {"pane", "memory", "settled"}
    player.play([Tick(T0 + 62_000)])
    assert {key.partition("|")[0] for key in player.records} == {"memory", "settled"}
    player.play([Tick(T0 + 3_700_000)])
    assert list(player.records) == ["settled|"]


def test_windows_must_fit() -> None:
    """The sliding one is a multiple of the tumbling one, and panes are kept for both."""
    with pytest.raises(ValueError, match="multiple"):
        Windows(pane_ms=7000)
    with pytest.raises(ValueError, match="kept"):
        Windows(keep_ms=60_000)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), crashes=st.integers(1, 8))
def test_a_crash_changes_no_metric(seed: int, crashes: int) -> None:
    """Wherever it comes, between two writes or in the midst of publishing, and however far the
    log is then read again.
    """
    log = made_up(seed)
    choose = random.Random(seed)
    player, position = Player(), 0
    for _ in range(crashes):
        until = choose.randrange(position, len(log))
        for sample in log[position:until]:
            player.take(sample)
        player.take(log[until], writes=choose.randrange(4))
        player.restart()
        position = max(position, until - choose.randrange(15))
    for sample in log[position:]:
        player.take(sample)
    assert player.published == Player().play(log)
