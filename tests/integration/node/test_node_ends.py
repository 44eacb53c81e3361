"""Nodes that are suspended, drained, killed and started again."""

from __future__ import annotations

import json
import signal
import time
import urllib.request

import pytest

from headwater import Client
from headwater.fleet.records import AgentMode, NodeMode
from headwater.log.exports import decode_export
from tests.support.place import PATIENCE_S, Place
from tests.support.processes import eventually

pytestmark = pytest.mark.kafka


def test_its_health_can_be_asked(place: Place) -> None:
    """The address in its heartbeats answers, and names the node."""
    address = place.pulse.lives["n1"].address
    with urllib.request.urlopen(f"http://{address}/health", timeout=10) as answer:
        health = json.load(answer)
    assert (health["node_id"], health["mode"]) == ("n1", "RUNNING")
    assert health["kinds"] == ["Async", "Plain"]


def test_a_suspended_node_fences_itself(place: Place) -> None:
    """Stopped for longer than its lease it stops its steps, keeps its states on its own disk,
    writes that down, and goes on with what is still its own; for shorter, nothing happens.
    """
    program = place.node("n2")
    place.start("n2", "s-1", "s-2:Plain")
    place.await_steps("n2", "s-1", 3)
    epoch = place.agents("n2")["s-1"].epoch
    program.pause()
    time.sleep(1.0)
    program.resume()
    place.await_steps("n2", "s-1", 10)
    fenced = len(place.audited("node.fenced", "node:n2"))
    if not fenced:  # it may have been, on a machine this busy
        assert place.agents("n2")["s-1"].epoch == epoch
    program.pause()
    time.sleep(4.0)
    program.resume()
    for agent in ("s-1", "s-2"):
        place.await_steps("n2", agent, 10)
    eventually(
        lambda: len(place.audited("node.fenced", "node:n2")) > fenced, PATIENCE_S, "it is audited"
    )
    assert place.agents("n2")["s-1"].epoch > epoch
    (*_, newest) = sorted((place.started.directory / "n2.data/emergency/s-1").iterdir())
    checkpoint, document = decode_export(newest.read_bytes())
    assert (checkpoint.agent_id, checkpoint.type) == ("s-1", "emergency")
    assert document["data"]["n"] == document["step"]
    program.end()


@pytest.mark.long
def test_what_is_no_more_its_own_is_dropped(place: Place, reader: Client) -> None:
    """An agent that another process took over while the node was suspended stays there; one that
    is nobody's, and routed here, is taken again.
    """
    program = place.node("n3")
    place.start("n3", "t-1", "t-2", "t-3")
    place.await_steps("n3", "t-1", 3)
    program.pause()
    with reader.agent("t-3") as taken:
        epoch = taken.epoch
    with reader.agent("t-1") as taken:
        program.resume()
        with taken.change() as state:
            state.data["mine"] = True
        eventually(lambda: "t-1" not in place.agents("n3"), PATIENCE_S, "it is dropped")
        place.await_steps("n3", "t-2", 3)
        eventually(lambda: owner(place, "t-3") > epoch, PATIENCE_S, "t-3 is taken again")
        with taken.change() as state:
            state.data["still"] = True
    assert reader.get("t-1").state.data["still"]
    program.end()


def owner(place: Place, agent: str) -> int:
    """The epoch in which a node has an agent; 0 if it has not."""
    report = place.agents("n3").get(agent)
    return 0 if report is None else report.epoch


def test_a_drained_node_hands_over_and_one_that_returns_picks_up(place: Place) -> None:
    """SIGTERM: agents go to peers and the exit code is 0. What nobody took goes on when the node
    is there again, paused if it was; a DRAIN of before is not obeyed again.
    """
    first = place.node("n4", "--replicas", "100")
    names = [f"d-{number}" for number in range(20)]
    place.start("n4", *names)
    place.tell("n4", "PAUSE", "d-0")
    place.await_route("d-0", "n4", "PAUSED")
    place.tell("n1", "THROTTLE", rate=5)
    place.await_steps("n4", "d-7", 5)
    first.end()
    for agent in names[1:]:
        place.await_route(agent, "n1")
    place.await_route("d-0", "n1", "PAUSED")
    place.await_steps("n1", "d-7", 2)
    (moved,) = place.audited("node.drained", "node:n4")
    assert moved["handed_over"] == len(names)

    # Back, by one command each, to a node that is told to drain and finds nobody.
    second = place.node("n4")
    eventually(
        lambda: all(r.ok for r in place.tell("n1", "MIGRATE", target="n4")),
        PATIENCE_S,
        "all have moved",
    )
    for agent in names[1:]:
        place.await_route(agent, "n4")
    place.tell("n1", "READ_ONLY")
    eventually(lambda: place.mode("n1") is NodeMode.READ_ONLY, PATIENCE_S, "nobody takes agents")
    time.sleep(1.5)
    results = place.tell("n4", "DRAIN")
    assert not any(result.ok for result in results)
    assert second.wait() == 0
    third = place.node("n4")
    place.await_steps("n4", "d-7", 3)
    reports = place.agents("n4")
    assert set(names) <= set(reports)
    assert reports["d-0"].state is AgentMode.PAUSED
    assert place.mode("n4") is NodeMode.RUNNING
    place.tell("n1", "READ_WRITE")
    third.kill()


def test_a_replica_is_the_same_state(place: Place, reader: Client) -> None:
    """A node that keeps warm replicas answers for them, and takes over from them."""
    place.alone("n1")
    place.node("n5", "--replicas", "1000")
    place.start("n1", "w-1")
    place.await_steps("n1", "w-1", 5)
    place.tell("n1", "PAUSE", "w-1")
    (owner,) = place.tell("n1", "VERIFY", "w-1")

    def same() -> bool:
        (replica,) = place.tell("n5", "VERIFY", "w-1")
        return replica.ok and bool(replica.detail["replica"]) and replica.version == owner.version

    eventually(same, PATIENCE_S, "the replica has followed", step_s=0.3)
    (replica,) = place.tell("n5", "VERIFY", "w-1")
    assert replica.detail["state_hash"] == owner.detail["state_hash"]
    place.tell("n1", "RESUME", "w-1")
    assert all(r.ok for r in place.tell("n5", "START", "w-1", claim="steal"))
    place.await_route("w-1", "n5")
    place.await_steps("n5", "w-1", 3)
    recovered = reader.get("w-1")
    assert recovered.state.data["n"] == recovered.version


def test_a_second_signal_does_not_wait(place: Place) -> None:
    """A node that waits for others to take its agents leaves at once when it is told twice."""
    place.alone("n1")
    program = place.node("n6")
    place.start("n6", "q-1")
    place.await_steps("n6", "q-1", 3)
    silent = place.nodes[0]
    silent.pause()
    program._popen.send_signal(signal.SIGTERM)
    eventually(lambda: "draining" in program.tail(), PATIENCE_S, "it drains")
    time.sleep(1)
    assert program.running
    program._popen.send_signal(signal.SIGINT)
    assert program.wait() == 128 + signal.SIGINT
    silent.resume()
