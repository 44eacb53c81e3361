"""Why something is slow: pure.

From what nodes say of themselves at that moment. A cause that explains more is preferred: brokers
that are slow for everybody before a node that is overloaded, that before a kind that is slow
everywhere; a node that is slower than its peers for no reason that it could tell comes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from .nodes import NodeView

_SLOW_BROKER_MS = 100.0
_CPU = 0.85
_LAG_MS = 100.0
_MEMORY = 0.9
# So much slower than its peers is a node that something is wrong with.
_FACTOR = 2.0


class Cause(StrEnum):
    """What is behind a degradation."""

    BROKERS = "BROKERS"
    OVERLOADED_NODE = "OVERLOADED_NODE"
    SLOW_NODE = "SLOW_NODE"
    SLOW_KIND = "SLOW_KIND"
    UNKNOWN = "UNKNOWN"


class Action(StrEnum):
    """What can be done about one, in the order in which it is tried."""

    MOVE_SOME = "MOVE_SOME"
    MOVE_ALL = "MOVE_ALL"
    THROTTLE = "THROTTLE"
    RESTART = "RESTART"
    WAIT = "WAIT"


ACTIONS: dict[Cause, tuple[Action, ...]] = {
    # Nothing that a node does differently makes brokers faster, but asking less of them does.
    Cause.BROKERS: (Action.WAIT, Action.THROTTLE),
    Cause.OVERLOADED_NODE: (Action.MOVE_SOME, Action.THROTTLE),
    Cause.SLOW_NODE: (Action.RESTART, Action.MOVE_ALL),
    Cause.SLOW_KIND: (Action.WAIT, Action.THROTTLE),
    Cause.UNKNOWN: (Action.WAIT, Action.RESTART),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The cause, the nodes that it concerns, and what speaks for it."""

    cause: Cause
    nodes: tuple[str, ...]
    evidence: str

    @property
    def actions(self) -> tuple[Action, ...]:
        """What to try, in order."""
        return ACTIONS[self.cause]


def diagnose(
    component: str, figure: str, nodes: Sequence[NodeView], step_ms: dict[str, float]
) -> Diagnosis:
    """Why ``figure`` of ``component`` is worse than usual. ``step_ms`` are the times that steps
    of the kind in question take on each node, as far as known.
    """
    live = sorted((n for n in nodes if n.alive and n.kinds), key=lambda n: n.node_id)
    sort, _, name = component.partition(":")
    slow_brokers = [n for n in live if _rtt(n) >= _SLOW_BROKER_MS]
    if figure in ("commit_ms", "broker_rtt_ms") or 2 * len(slow_brokers) > max(1, len(live)):
        worst = max(map(_rtt, live), default=0.0)
        return Diagnosis(
            cause=Cause.BROKERS,
            nodes=tuple(n.node_id for n in live),
            evidence=f"{len(slow_brokers)} of {len(live)} nodes wait long for brokers, up to "
            f"{worst:.0f} ms",
        )
    concerned = [n for n in live if n.node_id == name] if sort == "node" else live
    busy = [(n, why) for n in concerned if (why := overload(n))]
    if busy:
        return Diagnosis(
            cause=Cause.OVERLOADED_NODE,
            nodes=tuple(n.node_id for n, _ in busy),
            evidence="; ".join(f"{n.node_id}: {why}" for n, why in busy),
        )
    if sort == "node":
        others = [ms for node, ms in step_ms.items() if node != name]
        mine = step_ms.get(name)
        if others and mine is not None and mine < _FACTOR * median(others):
            told = f"steps take {mine:.0f} ms there and {median(others):.0f} ms elsewhere"
            return Diagnosis(cause=Cause.SLOW_KIND, nodes=_names(live), evidence=told)
        told = "slower than it was, and no resource is short"
        return Diagnosis(cause=Cause.SLOW_NODE, nodes=(name,), evidence=told)
    if sort == "kind":
        apart = _outliers(step_ms)
        if apart:
            told = ", ".join(f"{n}: {step_ms[n]:.0f} ms" for n in apart)
            return Diagnosis(cause=Cause.SLOW_NODE, nodes=apart, evidence=told)
        told = "slow on every node that runs it"
        return Diagnosis(cause=Cause.SLOW_KIND, nodes=_names(live), evidence=told)
    return Diagnosis(cause=Cause.UNKNOWN, nodes=_names(live), evidence="nothing stands out")


def overload(node: NodeView) -> str:
    """What a node has too much of; empty where it has not."""
    r = node.resources
    if r is None:
        return ""
    if r.cpu_limit > 0 and r.cpu / r.cpu_limit >= _CPU:
        return f"{r.cpu:.1f} of {r.cpu_limit:.1f} cores in use"
    if r.loop_lag_ms >= _LAG_MS:
        return f"its event loop is {r.loop_lag_ms:.0f} ms late"
    if r.memory_limit_bytes > 0 and r.memory_bytes / r.memory_limit_bytes >= _MEMORY:
        return f"{r.memory_bytes / r.memory_limit_bytes:.0%} of its memory in use"
    return ""


def _rtt(node: NodeView) -> float:
    return 0.0 if node.resources is None else node.resources.broker_rtt_ms


def _outliers(step_ms: dict[str, float]) -> tuple[str, ...]:
    if len(step_ms) < 2:
        return ()
    usual = median(step_ms.values())
    return tuple(sorted(n for n, ms in step_ms.items() if ms > _FACTOR * usual))


def _names(nodes: Sequence[NodeView]) -> tuple[str, ...]:
    return tuple(n.node_id for n in nodes)
