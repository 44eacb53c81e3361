"""Where agents go when their node is gone: pure.

For each agent the node that costs least is taken. The cost of a node is in units of an even share
of all agents: how full it is with them, how little memory it has left, how often it failed lately,
less a bonus where it keeps the agent's warm replica, which makes a takeover read the tail only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from headwater.fleet.placement import first
from headwater.fleet.records import Resources

from .limits import HoldOff
from .nodes import NodeView

# Above that share of its memory a node refuses agents.
_FULL = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What counts how much against a node's share of the agents."""

    load: float = 1.0
    memory: float = 0.5
    failure: float = 0.25
    replica: float = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """An agent that needs a node. ``excluded``: nodes on which it was tried in vain."""

    agent_id: str
    kind: str
    excluded: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Where each agent goes, and of those that go nowhere why not."""

    targets: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def by_node(self) -> dict[str, list[str]]:
        """The agents of each target, in order."""
        found: dict[str, list[str]] = {}
        for agent_id, node_id in self.targets.items():
            found.setdefault(node_id, []).append(agent_id)
        return found


def choose_targets(
    agents: Sequence[Moving],
    nodes: Sequence[NodeView],
    now_ms: int,
    *,
    weights: Weights | None = None,
    hold_off: HoldOff | None = None,
    gone: Collection[str] = (),
) -> Choice:
    """A target for each agent, among nodes that run its kind and take agents; ``gone`` are nodes
    that are not to be used, whatever they look like.

    Nodes that are held back for flapping are used only where there is no other: an agent that
    waits helps nobody. The same arguments give the same choice.
    """
    weights, hold_off = weights or Weights(), hold_off or HoldOff()
    usable = [n for n in nodes if n.takes_agents and n.node_id not in gone and not full(n)]
    held = {n.node_id for n in usable if hold_off.held_s(n.failures, now_ms) > 0}
    names = [n.node_id for n in usable]
    loads = {n.node_id: n.agents for n in usable}
    share = max(1.0, (sum(loads.values()) + len(agents)) / max(1, len(usable)))
    fixed = {n.node_id: _fixed_cost(n, weights) for n in usable}
    replicas = {n.node_id for n in usable if n.resources is not None and n.resources.replicas}
    by_kind = _by_kind(usable)
    choice = Choice()
    for agent in sorted(agents, key=lambda a: a.agent_id):
        able = by_kind(agent.kind)
        free = [name for name in able if name not in agent.excluded]
        fit = [name for name in free if name not in held] or free
        if not fit:
            choice.refused[agent.agent_id] = _why(agent, able, nodes)
            continue
        warm = first(agent.agent_id, names) if replicas else None
        bonus = {warm: weights.replica} if warm in replicas else {}
        best = min(
            fit,
            key=lambda name: (
                weights.load * loads[name] / share + fixed[name] - bonus.get(name, 0.0),
                name,
            ),
        )
        loads[best] += 1
        choice.targets[agent.agent_id] = best
    return choice


def full(node: NodeView) -> bool:
    """Whether a node has no memory left for more agents."""
    r = node.resources
    return r is not None and r.memory_limit_bytes > 0 and memory_share(r) >= _FULL


def memory_share(resources: Resources) -> float:
    """The share of its memory that a node uses, 0.0 where it has no limit."""
    limit = resources.memory_limit_bytes
    return resources.memory_bytes / limit if limit > 0 else 0.0


def _fixed_cost(node: NodeView, weights: Weights) -> float:
    used = 0.0 if node.resources is None else memory_share(node.resources)
    return weights.memory * used + weights.failure * min(4, len(node.failures))


def _by_kind(nodes: Sequence[NodeView]) -> Callable[[str], list[str]]:
    found: dict[str, list[str]] = {}

    def able(kind: str) -> list[str]:
        if kind not in found:
            found[kind] = [n.node_id for n in nodes if kind in n.kinds]
        return found[kind]

    return able


def _why(agent: Moving, able: Sequence[str], nodes: Sequence[NodeView]) -> str:
    if able:
        return f"no node is left for it: tried in vain on {', '.join(sorted(agent.excluded))}"
    others: Mapping[str, NodeView] = {n.node_id: n for n in nodes if agent.kind in n.kinds}
    if not others:
        return f"no live node runs agents of kind {agent.kind!r}"
    states = [f"{name} ({_state(others[name])})" for name in sorted(others)]
    return f"no node that runs kind {agent.kind!r} takes agents: {', '.join(states)}"


def _state(node: NodeView) -> str:
    if not node.alive:
        return "silent"
    return "out of memory" if full(node) else node.mode.lower()
