"""What becomes of agents that a node claims anew, and how many begin at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from headwater.agent.takeover import Opened
from headwater.errors import AgentOwned, HeadwaterError, SessionClosed
from headwater.node.host import Host
from headwater.node.hosted import HostedAgent, kind_of
from headwater.node.slot import Life, Slot


class Worker(HostedAgent):
    pause = timedelta(hours=1)

    async def step(self, agent: Any) -> None:
        """Nothing."""


class FakeSession:
    """A session of an agent that the node has."""

    version, size_bytes = 1, 10
    recovered = None

    def __init__(self, agent_id: str, epoch: int) -> None:
        self.agent_id = agent_id
        self.epoch = epoch

    def disown(self, error: HeadwaterError) -> None:
        """Nothing."""


class FakeClient:
    """Opens agents as the test says."""

    def __init__(self) -> None:
        self.errors: dict[str, HeadwaterError] = {}

    def open_many(self, names: list[str], **_: Any) -> Iterator[Opened]:
        for name in names:
            error = self.errors.get(name)
            session: Any = None if error is not None else FakeSession(name, 9)
            yield Opened(agent_id=name, session=session, error=error)


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def host(client: FakeClient) -> Iterator[Host]:
    posts: Any = SimpleNamespace(route=lambda *_: None, restarted=lambda *_: None)
    chores: Any = SimpleNamespace(do=lambda _: None)
    kind = kind_of(Worker)
    fake: Any = client
    hearing: Any = None
    host = Host(fake, {kind.name: kind}, posts, hearing, chores)
    yield host
    host.loops.stop()
    host.threads.stop()


def stopped(host: Host, agent_id: str, epoch: int) -> Slot:
    """An agent of the node whose claim was abandoned."""
    slot = host.slots[agent_id] = Slot(agent_id, kind_of(Worker))
    session: Any = FakeSession(agent_id, epoch)
    slot.adopt(Life(session, Worker(), None))
    host.interrupt_all(SessionClosed("the lease ran out"))
    return slot


@pytest.mark.parametrize(("epoch", "kept"), [(3, True), (4, False), (5, False)])
def test_an_owner_from_before_ones_own_claim_is_old_news(
    host: Host, client: FakeClient, epoch: int, kept: bool
) -> None:
    """A log that is not read to its end names an earlier owner: the node asks again. One of this
    epoch that is not ours any more, and a later one, have the agent.
    """
    slot = stopped(host, "a", epoch=4)
    client.errors["a"] = AgentOwned("somebody else has it", epoch)
    (taken,) = host.reclaim([slot])
    assert taken.error == "somebody else has it"
    assert ("a" in host.slots) is kept
    assert slot.unclaimed(slot.claim_s + 1) is kept


def test_agents_that_begin_wait_for_heartbeats(host: Host) -> None:
    """While the lease is in danger a few begin at a time, with a pause in between; but all do."""
    asked: list[int] = []

    def strained() -> bool:
        asked.append(sum(s.life is not None for s in host.slots.values()))
        return len(asked) < 4

    host.strained = strained
    kind = next(iter(host.kinds.values()))
    names = {f"a{number}": kind for number in range(60)}
    assert sum(taken.slot is not None for taken in host.take(names, 1.0)) == 60
    assert asked[:4] == [25, 25, 25, 25]
    assert asked[4] == 50


def test_brokers_that_stay_slow_do_not_stop_a_takeover(host: Host) -> None:
    """It is slowed down, not given up."""
    host.strained = lambda: True
    kind = next(iter(host.kinds.values()))
    began_s = time.monotonic()
    assert len(list(host.take({f"a{number}": kind for number in range(50)}, 1.0))) == 50
    assert 0.5 < time.monotonic() - began_s < 5


def test_an_agent_that_was_won_without_a_lease_is_kept(host: Host) -> None:
    """By the log it is the node's: it begins once the lease holds again, and nobody moves it."""
    host.fenced = True
    kind = next(iter(host.kinds.values()))
    (taken,) = host.take({"a": kind}, 1.0)
    assert taken.error == ""
    slot = host.slots["a"]
    assert slot.life is None and slot.unclaimed(0.0)
    host.fenced = False
    (taken,) = host.reclaim([slot])
    assert slot.life is not None
