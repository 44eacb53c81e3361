"""Where agents go, and which of them are moved no more."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from consumers.strategies.limits import HoldOff
from consumers.strategies.nodes import NodeView
from consumers.strategies.quarantine import judge
from consumers.strategies.targets import Moving, choose_targets
from headwater.fleet.placement import first
from headwater.fleet.records import NodeMode, Resources

MINUTE = 60_000
RESOURCES = Resources(
    cpu=0.1,
    cpu_limit=2.0,
    memory_bytes=100,
    memory_limit_bytes=1000,
    disk_free_bytes=1,
    disk_total_bytes=2,
    open_files=1,
    open_files_limit=100,
    loop_lag_ms=0.1,
    broker_rtt_ms=1.0,
)


def node(name: str, *, used: float = 0.1, replicas: int = 0, **fields: Any) -> NodeView:
    """A node that is well."""
    resources = msgspec.structs.replace(
        RESOURCES, memory_bytes=round(1000 * used), replicas=replicas
    )
    defaults: dict[str, Any] = {
        "mode": NodeMode.RUNNING,
        "lease_s": 3.0,
        "kinds": frozenset({"Worker"}),
        "resources": resources,
    }
    return NodeView(node_id=name, **(defaults | fields))


def agents(count: int, kind: str = "Worker") -> list[Moving]:
    """Agents that need a node."""
    return [Moving(agent_id=f"agent-{n:03}", kind=kind) for n in range(count)]


def spread(nodes: list[NodeView], count: int = 90, **settings: Any) -> Counter[str]:
    """How many agents each node gets."""
    return Counter(choose_targets(agents(count), nodes, 0, **settings).targets.values())


def test_agents_are_spread_so_that_all_nodes_have_as_many() -> None:
    """Those that have few get more."""
    assert spread([node("a"), node("b"), node("c")]) == {"a": 30, "b": 30, "c": 30}
    assert spread([node("a", agents=60), node("b"), node("c", agents=30)]) == {"b": 60, "c": 30}


def test_a_node_with_little_memory_or_a_bad_past_gets_fewer() -> None:
    """And one that is full gets none."""
    by = spread([node("a", used=0.8), node("b"), node("c", failures=(0,))])
    assert by["b"] > by["c"] > 0 and by["b"] > by["a"] > 0
    assert spread([node("a", used=0.95), node("b")]) == {"b": 90}


def test_what_keeps_the_warm_replica_is_preferred() -> None:
    """Where the nodes have about as much to do."""
    nodes = [node(name, replicas=50, agents=300) for name in "abc"]
    choice = choose_targets(agents(60), nodes, 0)
    warm = sum(first(a, "abc") == target for a, target in choice.targets.items())
    assert warm == 60
    # But not by a node that is much fuller than the others.
    nodes = [node("a", replicas=50, agents=900), node("b", agents=30), node("c", agents=30)]
    assert "a" not in choose_targets(agents(60), nodes, 0).targets.values()


def test_no_node_gets_what_it_cannot_or_must_not_have() -> None:
    """Each for a reason that is told where nothing else is left."""
    others = [
        node("silent", silent_s=4.0),
        node("failed", failed=True),
        node("draining", mode=NodeMode.DRAINING),
        node("frozen", mode=NodeMode.READ_ONLY),
        node("full", used=0.95),
        node("gone"),
        node("other", kinds=frozenset({"Other"})),
    ]
    assert spread([node("good"), *others], gone={"gone"}) == {"good": 90}
    choice = choose_targets(agents(1), others, 0, gone={"gone"})
    (why,) = choice.refused.values()
    for said in ("silent (silent)", "failed (silent)", "draining (draining)", "full (out of mem"):
        assert said in why
    (why,) = choose_targets(agents(1, "Nobody's"), others, 0).refused.values()
    assert why == 'no live node runs agents of kind "Nobody\'s"'
    tried = Moving(agent_id="x", kind="Worker", excluded=frozenset({"good"}))
    (why,) = choose_targets([tried], [node("good")], 0).refused.values()
    assert "tried in vain on good" in why


def test_a_flapping_node_is_used_only_where_there_is_no_other() -> None:
    """It is held back, not shut out."""
    flapping = node("flapping", failures=(8 * MINUTE, 9 * MINUTE, 10 * MINUTE))
    now, hold = 10 * MINUTE, HoldOff()
    choice = choose_targets(agents(9), [flapping, node("good")], now, hold_off=hold)
    assert set(choice.targets.values()) == {"good"}
    choice = choose_targets(agents(9), [flapping], now, hold_off=hold)
    assert set(choice.targets.values()) == {"flapping"}


@given(
    st.lists(
        st.builds(
            node,
            st.sampled_from([f"node-{n}" for n in range(6)]),
            used=st.floats(0, 1),
            agents=st.integers(0, 100),
            silent_s=st.sampled_from([0.0, 5.0]),
            replicas=st.integers(0, 5),
            failures=st.lists(st.integers(0, 10**6), max_size=4).map(tuple),
        ),
        max_size=6,
        unique_by=lambda n: n.node_id,
    ),
    st.integers(0, 40),
)
def test_every_agent_goes_to_one_usable_node_or_is_told_why_not(
    nodes: list[NodeView], count: int
) -> None:
    """Whatever the fleet is like; and the same fleet gives the same answer."""
    choice = choose_targets(agents(count), nodes, 10**6)
    assert choice.targets.keys().isdisjoint(choice.refused)
    assert choice.targets.keys() | choice.refused.keys() == {a.agent_id for a in agents(count)}
    usable = {n.node_id for n in nodes if n.takes_agents}
    assert set(choice.targets.values()) <= usable
    assert choose_targets(agents(count), nodes[::-1], 10**6) == choice


def test_an_agent_is_quarantined_after_so_many_nodes_in_a_row() -> None:
    """A step completed in between begins the count anew."""
    assert judge(["a"], {}, {}).strikes == {"a": 1}
    assert judge(["a"], {}, {"a": 2}).quarantined == ("a",)
    assert judge(["a"], {"a": 1}, {"a": 2}).strikes == {"a": 0}
    assert judge(["a"], {"a": 1}, {}).strikes == {}
    assert judge(["a"], {}, {"a": 9}, limit=0).quarantined == ()
    assert judge(["a"], {}, {}, limit=1).quarantined == ("a",)


def test_those_that_are_one_strike_short_are_tried_one_by_one() -> None:
    """So that the next node that fails tells which of them it was."""
    verdict = judge(["a", "b", "c"], {"c": 5}, {"a": 1, "b": 1, "c": 1})
    assert verdict.trial == ("a", "b")
    assert judge(["a", "c"], {"c": 5}, {"a": 1}).trial == ("a",)


def test_of_two_to_blame_neither_is_quarantined() -> None:
    """Chance may put them on one node; but an agent may not bring down any number of them."""
    verdict = judge(["a", "b", "c"], {}, {"a": 2, "b": 2})
    assert (verdict.quarantined, verdict.trial) == ((), ("a", "b"))
    assert verdict.strikes == {"a": 3, "b": 3, "c": 1}
    assert judge(["a", "b"], {}, {"a": 3, "b": 5}).quarantined == ("b",)


@given(st.data())
def test_of_a_herd_only_the_killer_is_quarantined(data: st.DataObject) -> None:
    """The others move along with it, and none of them pays for it."""
    herd = [f"agent-{n}" for n in range(data.draw(st.integers(1, 12)))]
    killer = data.draw(st.sampled_from(herd))
    strikes: dict[str, int] = {}
    on_node, died = list(herd), 0
    while True:
        died += 1
        # Nobody completes a step before the killer's first one brings the node down.
        verdict = judge(on_node, {}, strikes)
        strikes |= verdict.strikes
        if verdict.quarantined:
            break
        if verdict.trial:
            # One at a time: those before the killer complete a step each, and it dies alone.
            before = verdict.trial[: verdict.trial.index(killer)]
            strikes |= dict.fromkeys(before, 0)
            on_node = [killer]
    assert verdict.quarantined == (killer,)
    assert died == 3
