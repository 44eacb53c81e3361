"""NODE_FAILURE of nodes that nobody has seen: agents are routed to them, and since the detector
started they have not been heard of once. So a node is not forgotten that died while no detector
ran, or longer ago than heartbeats are read back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from headwater.fleet.records import FailureEvent, FailureType, Route, RouteStatus
from headwater.fleet.routes import RouteTable

from .finding import Finding, Topic
from .nodes import component_of

TO_RUN = frozenset({RouteStatus.RUNNING, RouteStatus.PAUSED})
"""What a route says of an agent that some node must have."""


def unseen_nodes(
    routes: RouteTable,
    seen: Collection[str],
    last: Callable[[Topic], FailureEvent | None],
) -> Iterator[Finding]:
    """A finding for each node that routes lead to and that is not among ``seen``.

    ``last`` gives the last failure of a kind: an id is made of the one before it, for there is no
    heartbeat to make it of.
    """
    for node_id in sorted(routes.nodes() - set(seen)):
        waiting = [r for r in routes.on(node_id) if r.status in TO_RUN]
        if waiting:
            yield _finding(node_id, waiting, last)


def _finding(
    node_id: str,
    waiting: list[Route],
    last: Callable[[Topic], FailureEvent | None],
) -> Finding:
    newest = max(waiting, key=lambda route: (route.updated_at, route.agent_id))
    component = component_of(node_id)
    before = last((FailureType.NODE_FAILURE, component, ""))
    incarnation = newest.incarnation.hex()
    return Finding(
        type=FailureType.NODE_FAILURE,
        component=component,
        mark=(incarnation, "unseen", before.failure_id if before is not None else ""),
        description=f"node {node_id} has {len(waiting)} agents and has not been heard of at all",
        first_symptom_at=newest.updated_at,
        context={
            "node_id": node_id,
            "incarnation": incarnation,
            "sequence": -1,
            "last_beat_at": 0,
            "agents": len(waiting),
            "address": newest.address,
        },
    )
