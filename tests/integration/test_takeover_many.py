"""Many agents taken over at once: after their owners' leases, and never before."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest

import headwater
from headwater import AgentOwned, Client, Config, SessionClosed
from headwater.agent.session import Session
from headwater.fleet.feed import Feed, decoded
from headwater.fleet.records import Command, CommandKind
from headwater.topics import connect_fleet
from tests.support.sessions import append

pytestmark = pytest.mark.kafka

LEASE_S = 0.6


def opened(client: Client, names: list[str]) -> dict[str, Session]:
    """Sessions of agents, each with one message."""
    sessions = {}
    for each in client.open_many(names):
        assert each.session is not None, each.error
        append(each.session, f"by {client.node_id}")
        sessions[each.agent_id] = each.session
    assert sessions.keys() == set(names)
    return sessions


def test_many_are_taken_over_after_the_lease(config: Config, hw: Client) -> None:
    """A dead node's agents, a released one and a new one: each once, with all that it had."""
    gone = headwater.connect(config.with_(node_id="many-gone")).open()
    names = [f"many-{i}" for i in range(30)]
    sessions = opened(gone, names)
    sessions["many-3"].release()
    gone.close()
    started = time.monotonic()
    when: dict[str, float] = {}
    taken: dict[str, Session] = {}
    for each in hw.open_many([*names, "many-new"]):
        assert each.session is not None, each.error
        when[each.agent_id] = time.monotonic() - started
        taken[each.agent_id] = each.session
    assert when["many-3"] < LEASE_S and when["many-new"] < LEASE_S
    held = [name for name in names if name != "many-3"]
    assert all(LEASE_S <= when[name] < 3 for name in held)
    for name in names:
        assert taken[name].epoch == 2
        assert list(taken[name].state.messages) == ["by many-gone"]
        assert taken[name].session_id == sessions[name].session_id
    assert taken["many-new"].epoch == 1
    for session in taken.values():
        append(session, "on")
        session.release()


def test_a_living_owner_keeps_its_agents(hw: Client, other: Client) -> None:
    """Whoever waits for several agents gets those that are free, and is told of the others."""
    kept = opened(hw, ["kept-0", "kept-1"])
    results = {
        each.agent_id: each
        for each in other.open_many(
            ["kept-0", "kept-1", "kept-free"], timeout=timedelta(seconds=1.5)
        )
    }
    assert results["kept-free"].session is not None
    for name in ("kept-0", "kept-1"):
        assert isinstance(results[name].error, AgentOwned)
        append(kept[name], "still mine")


def test_rivals_get_each_agent_once(config: Config, hw: Client) -> None:
    """Two nodes that want the same dead node's agents share them, whoever comes first."""
    gone = headwater.connect(config.with_(node_id="rival-gone")).open()
    names = [f"rival-{i}" for i in range(20)]
    opened(gone, names)
    gone.close()
    won: dict[str, list[str]] = {name: [] for name in names}

    def take(node: str) -> None:
        with headwater.connect(config.with_(node_id=node)) as client:
            for each in client.open_many(names, timeout=timedelta(seconds=3)):
                if each.session is not None:
                    won[each.agent_id].append(node)
                    append(each.session, node)
            done.wait()

    done = threading.Barrier(2)
    threads = [threading.Thread(target=take, args=(node,)) for node in ("rival-a", "rival-b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(nodes) == 1 for nodes in won.values())
    for name in names:
        assert hw.get(name).state.messages == ["by rival-gone", *won[name]]


def test_replicas_are_read_on(config: Config, hw: Client) -> None:
    """A replica that lags behind is brought up to the claim, not taken for the truth."""
    gone = headwater.connect(config.with_(node_id="replica-gone")).open()
    session = opened(gone, ["replica"])["replica"]
    replica = hw.recover("replica")
    append(session, "after the replica")
    gone.close()
    (each,) = hw.open_many(["replica"], replicas={"replica": replica})
    assert each.session is not None
    assert list(each.session.state.messages) == ["by replica-gone", "after the replica"]
    append(each.session, "on")
    assert hw.get("replica").version == 3


def test_a_disowned_session_counts_no_more(hw: Client) -> None:
    """A step that hangs in a change of an agent that is claimed anew: nothing of it arrives."""
    old = opened(hw, ["disowned"])["disowned"]
    inside, go_on = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def hang() -> None:
        try:
            with old.change() as state:
                state.messages.append("from the step that hung")
                inside.set()
                go_on.wait()
        except headwater.HeadwaterError as error:
            errors.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    inside.wait()
    old.disown(SessionClosed("its step took too long"))
    (each,) = hw.open_many(["disowned"], ours=True)
    assert each.session is not None and each.session.epoch == 2
    go_on.set()
    thread.join()
    assert [str(error) for error in errors] == ["its step took too long"]
    append(each.session, "on")
    assert hw.get("disowned").state.messages == ["by here", "on"]


def test_a_change_in_flight_is_not_acknowledged_to_the_disowned(hw: Client) -> None:
    """A change that was sent and not heard of: its sender is refused, the log decides."""
    old = opened(hw, ["flying"])["flying"]
    with old.change(wait=False) as state:
        state.messages.append("in flight")
    old.disown(SessionClosed("its step took too long"))
    with pytest.raises(SessionClosed):
        old.flush()
    (each,) = hw.open_many(["flying"], ours=True)
    assert each.session is not None
    assert list(each.session.state.messages) in (["by here"], ["by here", "in flight"])


def test_only_ones_own(hw: Client, other: Client) -> None:
    """With `ours` nobody is waited for: another process's agent stays where it is."""
    opened(other, ["theirs"])
    started = time.monotonic()
    (each,) = hw.open_many(["theirs"], ours=True)
    assert isinstance(each.error, AgentOwned)
    assert time.monotonic() - started < LEASE_S


def test_steal_asks_the_owner(config: Config, hw: Client, other: Client) -> None:
    """The owner's node is told to hand the agent over, and once it did it is the thief's."""
    connect_fleet(config)
    owner = opened(other, ["stolen"])["stolen"]
    feed = Feed(config, "commands", "end")

    def obey() -> None:
        while True:
            for message in feed.read(0.1):
                command = decoded(Command, message)
                assert command is not None and command.kind is CommandKind.STOP
                assert [a.agent_id for a in command.agents] == ["stolen"]
                owner.release()
                return

    node = threading.Thread(target=obey)
    node.start()
    with hw.agent("stolen", claim="steal", timeout=timedelta(seconds=10)) as agent:
        assert agent.epoch == 2
    node.join()
    feed.close()
