"""Rendezvous hashing: the same for everybody, even, and stable when nodes come and go."""

from __future__ import annotations

from collections import Counter

from headwater.fleet.placement import first, rank

NODES = [f"node-{i}" for i in range(5)]
AGENTS = [f"agent-{i}" for i in range(2000)]


def test_the_order_of_nodes_does_not_matter() -> None:
    """Everybody who knows the same nodes comes to the same place."""
    for agent in AGENTS[:50]:
        assert rank(agent, NODES) == rank(agent, NODES[::-1])
        assert first(agent, NODES) == rank(agent, NODES)[0]
    assert first("a", []) is None


def test_agents_are_spread_evenly() -> None:
    """No node has a fifth more than its share."""
    counts = Counter(first(agent, NODES) for agent in AGENTS)
    assert max(counts.values()) < len(AGENTS) / len(NODES) * 1.2


def test_only_a_lost_nodes_agents_move() -> None:
    """The others stay where they were."""
    for agent in AGENTS:
        before = rank(agent, NODES)
        left = [n for n in NODES if n != "node-2"]
        assert rank(agent, left) == [n for n in before if n != "node-2"]
