"""What is behind slowness, and which agents a node gives away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.strategies.causes import ACTIONS, Cause, diagnose
from consumers.strategies.degradation import typical_ms
from consumers.strategies.heaviest import Shed, heaviest, weight_of
from consumers.strategies.nodes import NodeView
from consumers.strategies.timeout import back_off_s
from headwater.fleet.records import AgentMode, AgentReport, NodeMode, Resources


def node(
    name: str, *, cpu: float = 0.2, lag_ms: float = 1.0, rtt_ms: float = 2.0, silent_s: float = 0.0
) -> NodeView:
    """A node with two cores."""
    return NodeView(
        node_id=name,
        mode=NodeMode.RUNNING,
        lease_s=3.0,
        silent_s=silent_s,
        kinds=frozenset({"Worker"}),
        resources=Resources(
            cpu=cpu,
            cpu_limit=2.0,
            memory_bytes=1,
            memory_limit_bytes=10,
            disk_free_bytes=1,
            disk_total_bytes=2,
            open_files=1,
            open_files_limit=10,
            loop_lag_ms=lag_ms,
            broker_rtt_ms=rtt_ms,
        ),
    )


def test_slow_brokers_explain_what_is_slow_everywhere() -> None:
    """Even a node that is overloaded besides."""
    nodes = [node("a", rtt_ms=300.0, cpu=2.0), node("b", rtt_ms=250.0), node("c")]
    found = diagnose("node:a", "step_ms", nodes, {})
    assert (found.cause, found.nodes) == (Cause.BROKERS, ("a", "b", "c"))
    assert diagnose("fleet", "commit_ms", [node("a")], {}).cause is Cause.BROKERS


def test_a_node_that_has_too_much_to_do_is_told_from_one_that_is_just_slow() -> None:
    """By its cores, and by how late its loop is; a silent node says nothing."""
    for busy in (node("a", cpu=1.9), node("a", lag_ms=400.0)):
        found = diagnose("node:a", "step_ms", [busy, node("b")], {"a": 90.0, "b": 10.0})
        assert (found.cause, found.nodes) == (Cause.OVERLOADED_NODE, ("a",))
    nodes = [node("a"), node("b"), node("c", cpu=2.0, silent_s=9.0)]
    found = diagnose("node:a", "step_ms", nodes, {"a": 90.0, "b": 10.0})
    assert (found.cause, found.nodes) == (Cause.SLOW_NODE, ("a",))


def test_a_kind_that_is_slow_everywhere_is_not_a_nodes_fault() -> None:
    """Moving its agents about would help nobody."""
    nodes = [node("a"), node("b"), node("c")]
    times = {"a": 90.0, "b": 80.0, "c": 85.0}
    assert diagnose("node:a", "step_ms", nodes, times).cause is Cause.SLOW_KIND
    assert diagnose("kind:Worker", "step_ms", nodes, times).cause is Cause.SLOW_KIND
    found = diagnose("kind:Worker", "step_ms", nodes, {"a": 90.0, "b": 9.0, "c": 10.0})
    assert (found.cause, found.nodes) == (Cause.SLOW_NODE, ("a",))
    assert diagnose("fleet", "step_ms", nodes, {}).cause is Cause.UNKNOWN


def test_something_can_be_done_about_every_cause() -> None:
    """And each of them says what it was found by."""
    assert set(ACTIONS) == set(Cause)
    assert all(ACTIONS.values())


def report(name: str, size: int, state: AgentMode = AgentMode.RUNNING) -> AgentReport:
    """An agent of some size."""
    return AgentReport(agent_id=name, kind="Worker", size_bytes=size, state=state)


def test_the_heaviest_go_first_and_only_as_many_as_must() -> None:
    """Those that are done go nowhere."""
    some = [report("small", 1), report("large", 60 << 20), report("done", 1 << 30, AgentMode.DONE)]
    assert heaviest(some, 0.95) == ["large"]
    assert heaviest(some, 0.6) == []
    assert heaviest([report("only", 1)], 0.95) == ["only"]
    assert heaviest([], 0.95) == []


@given(
    st.lists(st.integers(0, 10**8), max_size=30),
    st.floats(0, 1),
    st.floats(0.1, 1),
    st.floats(0.05, 1),
)
def test_a_node_never_gives_more_than_it_must(
    sizes: list[int], share: float, goal: float, most: float
) -> None:
    """Enough to reach its goal, or as many as it may; and none fewer would do."""
    agents = [report(f"a-{n}", size) for n, size in enumerate(sizes)]
    shed = Shed(goal=goal, most=most)
    chosen = heaviest(agents, share, shed)
    if not agents or share <= goal:
        assert not chosen
        return
    weights = {a.agent_id: weight_of(a) for a in agents}
    wanted = sum(weights.values()) * (share - goal) / share
    given_ = [weights[a] for a in chosen]
    assert given_ == sorted(given_, reverse=True)
    assert len(chosen) == max(1, int(len(agents) * most)) or sum(given_) >= wanted
    assert len(chosen) == 1 or sum(given_[:-1]) < wanted


def test_the_median_of_a_histogram() -> None:
    """In the middle of its bucket, which is 9 % wide."""
    assert typical_ms({}) == 0.0
    assert abs(typical_ms({24: 9, 80: 8}) - 8 * 2 ** (0.5 / 8)) < 1e-9


def test_attempts_are_further_and_further_apart() -> None:
    """Up to a minute."""
    assert [back_off_s(n) for n in (1, 2, 3, 9)] == [2.0, 4.0, 8.0, 60.0]
