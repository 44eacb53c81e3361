"""Agents that are nobody's are taken up again, after a while, and no others."""

from __future__ import annotations

import msgspec
import pytest

from headwater.fleet.records import Route, RouteStatus
from headwater.log.fold import Head, genesis
from headwater.node.strays import PATIENCE_S, Strays

OURS, THEIRS = "n", "m"


class Stage:
    """A node with one route and a clock, and what it takes."""

    def __init__(self, status: RouteStatus = RouteStatus.RUNNING) -> None:
        self.now_s = 0.0
        self.here: set[str] = set()
        self.routes = [Route(agent_id="a", kind="K", node_id="n", epoch=3, status=status)]
        self.head = genesis("a")
        self.taken: list[str] = []
        self.strays = Strays(
            lambda: self.routes,
            self.here.__contains__,
            lambda agent_id: self.head,
            lambda routes: self.taken.extend(route.agent_id for route in routes),
            OURS,
            lambda: self.now_s,
        )

    def after(self, seconds: float) -> list[str]:
        """What has been taken after so long; looked at every five seconds."""
        for _ in range(round(seconds / 5)):
            self.now_s += 5
            self.strays.look()
        return self.taken


def owned(by: str) -> Head:
    """A head with an owner."""
    return msgspec.structs.replace(genesis("a"), epoch=3, nonce=b"n" * 16, node_id=by)


def test_an_agent_that_is_nobodys_is_taken_after_a_while() -> None:
    """Not before a move could be over; and again only after as long."""
    stage = Stage()
    assert stage.after(PATIENCE_S) == []
    assert stage.after(5) == ["a"]
    assert stage.after(PATIENCE_S - 5) == ["a"]
    assert stage.after(5) == ["a", "a"]


def test_what_is_here_or_somebodys_is_left_alone() -> None:
    """An agent that the node has, one that another process owns, one that is not to run."""
    here, theirs, stopped = Stage(), Stage(), Stage(RouteStatus.STOPPED)
    here.here.add("a")
    theirs.head = owned(THEIRS)
    for stage in (here, theirs, stopped):
        assert stage.after(3 * PATIENCE_S) == []


def test_what_the_log_says_is_ours_is_taken() -> None:
    """A release that did not arrive leaves this process the owner of what it no longer has."""
    stage = Stage()
    stage.head = owned(OURS)
    assert stage.after(PATIENCE_S + 5) == ["a"]


@pytest.mark.parametrize("moved", ["epoch", "gone"])
def test_patience_begins_anew_when_the_route_changes(moved: str) -> None:
    """A new claim in between, or a time here, is another story."""
    stage = Stage()
    stage.after(PATIENCE_S - 5)
    if moved == "epoch":
        stage.routes = [Route(agent_id="a", kind="K", node_id="n", epoch=4)]
    else:
        stage.here.add("a")
        stage.after(5)
        stage.here.clear()
    assert stage.after(PATIENCE_S) == []
    assert stage.after(5) == ["a"]
