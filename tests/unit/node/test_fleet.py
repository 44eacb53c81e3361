"""Which agents a node leaves alone that follows one that crashed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from headwater.config import Config
from headwater.fleet.pulse import Life
from headwater.fleet.records import AgentReport, NodeMode, Route, RouteStatus
from headwater.node.fleet import Fleet
from tests.support.fleetlings import ONE, TWO, beat


def life(incarnation: bytes, mode: NodeMode = NodeMode.RUNNING, **steps: int) -> Life:
    """A process of node "n", and how many steps its agents completed."""
    made = Life("n", incarnation, 0, 0.0, 0.0, beat("n", incarnation=incarnation, mode=mode))
    made.agents = {
        agent: AgentReport(agent_id=agent, kind="K", epoch=1, step=step)
        for agent, step in steps.items()
    }
    return made


def fleet(current: Life | None, previous: Life | None = None) -> Fleet:
    """The view of the process TWO, which has read these."""
    made = Fleet(Config(bootstrap_servers="none:1", node_id="n"), TWO)
    pulse = SimpleNamespace(
        lives={} if current is None else {"n": current},
        previous={} if previous is None else {"n": previous},
    )
    made._crashed = made._predecessor(cast("Any", pulse))
    return made


def route(agent: str, status: RouteStatus = RouteStatus.RUNNING) -> Route:
    return Route(agent_id=agent, kind="K", node_id="n", incarnation=ONE, epoch=1, status=status)


@pytest.mark.parametrize("beaten", [False, True], ids=["before", "after its own first heartbeat"])
def test_agents_that_had_completed_no_step_may_be_to_blame(beaten: bool) -> None:
    """Also those of which the process had not come to tell."""
    dead = life(ONE, a=3, b=0)
    seen = fleet(life(TWO), dead) if beaten else fleet(dead)
    assert seen.follows_a_crash
    assert [agent for agent in "abc" if seen.to_blame(route(agent))] == ["b", "c"]
    assert not seen.to_blame(route("b", RouteStatus.PAUSED))


@pytest.mark.parametrize(
    "before", [None, life(ONE, NodeMode.DRAINING, a=0), life(TWO, a=0)], ids=["none", "end", "self"]
)
def test_without_a_crash_nobody_is_to_blame(before: Life | None) -> None:
    """Nor where the process before had said that it ends."""
    seen = fleet(before)
    assert not seen.follows_a_crash
    assert not seen.to_blame(route("a"))
