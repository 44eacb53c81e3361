"""One node: a real process, and what it does with steps and commands."""

from __future__ import annotations

import time

import pytest

import headwater
from headwater import Client
from headwater.fleet.records import AgentMode, NodeMode
from tests.support.place import PATIENCE_S, Place
from tests.support.processes import eventually
from tests.support.steppers import BLOCKS_S, LAST, TROUBLE_AT

pytestmark = pytest.mark.kafka


def test_it_drives_steps_of_both_kinds(place: Place, reader: Client) -> None:
    """Steps follow one another, heartbeats and routes tell, and the log has what they say."""
    place.start("n1", "a-1", "a-2:Plain")
    for agent, kind in (("a-1", "Async"), ("a-2", "Plain")):
        place.await_steps("n1", agent, 10)
        place.await_route(agent, "n1")
        report = place.agents("n1")[agent]
        assert (report.kind, report.state, report.last_error) == (kind, AgentMode.RUNNING, "")
    kinds = place.pulse.lives["n1"].kinds
    assert kinds["Plain"].deadline_ms == 1000
    assert sum(bucket.count for bucket in kinds["Async"].latency) == kinds["Async"].steps > 5
    for result in place.tell("n1", "VERIFY", "a-1", "a-2"):
        found = reader.at(result.agent_id, result.version)
        assert found.state_hash.hex() == result.detail["state_hash"]


TROUBLED = ("hang", "open", "raise")


@pytest.fixture(scope="module")
def troubled(place: Place) -> list[str]:
    """Agents whose fifth step goes wrong, side by side, after they went on from that. One that
    blocks the event loop comes first: what it does to others is not to be mixed up with theirs.
    """
    names = [f"{what}-{kind}" for what in TROUBLED for kind in ("Async", "Plain")]
    blocked = ["block-Async", "by-Async", "by-Plain"]
    for group in (blocked, names):
        place.start("n1", *(f"{name}:{name.partition('-')[2]}" for name in group))
        await_recovered(place, group)
    assert all(result.ok for result in place.tell("n1", "STOP", *blocked, *names))
    return names


def await_recovered(place: Place, agents: list[str]) -> None:
    """Wait until agents have come far beyond their trouble."""
    for name in agents:
        # Long enough for the abandoned steps to come back and try to change something.
        eventually(
            lambda name=name: (
                name in place.agents("n1")  # type: ignore[misc]
                and place.agents("n1")[name].version > TROUBLE_AT + 120
            ),
            BLOCKS_S - 5,  # nobody waits for the one that blocks
            f"{name} goes on",
        )


@pytest.mark.parametrize("name", [*(f"{w}-{k}" for w in TROUBLED for k in ("Async", "Plain"))])
def test_a_step_that_goes_wrong(
    place: Place, reader: Client, troubled: list[str], name: str
) -> None:
    """It is abandoned: nothing counts that it does later, and the agent goes on without it."""
    assert name in troubled
    recovered = reader.get(name)
    assert recovered.head.epoch >= 2
    assert "late" not in recovered.state.data
    assert recovered.state.data["n"] == recovered.version
    (restarted,) = place.audited("agent.restarted", f"agent:{name}")
    assert restarted["restarts"] == 1


@pytest.mark.usefixtures("troubled")
def test_a_step_that_blocks_the_others(place: Place, reader: Client) -> None:
    """They go on without it, and nobody holds it against them."""
    assert reader.get("block-Async").head.epoch >= 2
    assert "late" not in reader.get("block-Async").state.data
    assert place.audited("loop.replaced", "agent:block-Async")
    for name in ("by-Async", "by-Plain"):
        assert not place.audited("agent.restarted", f"agent:{name}")


@pytest.mark.parametrize("kind", ["Async", "Plain"])
def test_a_step_that_says_that_it_is_done(place: Place, reader: Client, kind: str) -> None:
    """The agent is given up and its route says DONE; it can be started again."""
    agent = f"end-{kind}"
    place.start("n1", f"{agent}:{kind}")
    place.await_route(agent, "n1", "DONE")
    recovered = reader.get(agent)
    assert not recovered.head.owned
    assert recovered.state.data["n"] == LAST
    eventually(lambda: agent not in place.agents("n1"), PATIENCE_S, "it is gone")


def test_pause_resume_and_throttle(place: Place) -> None:
    """Steps wait, go on, and keep to a rate."""
    place.start("n1", "p-1")
    place.await_steps("n1", "p-1", 3)
    place.tell("n1", "PAUSE", "p-1")
    place.await_route("p-1", "n1", "PAUSED")
    (still,) = place.tell("n1", "VERIFY", "p-1")
    time.sleep(0.5)
    assert place.tell("n1", "VERIFY", "p-1")[0].version == still.version
    place.tell("n1", "THROTTLE", "p-1", rate=4)
    place.tell("n1", "RESUME", "p-1")
    place.await_route("p-1", "n1")
    began = time.monotonic()
    (before,) = place.tell("n1", "VERIFY", "p-1")
    time.sleep(2)
    (after,) = place.tell("n1", "VERIFY", "p-1")
    most = 4 * (time.monotonic() - began) + 2
    assert 0 < after.version - before.version <= most
    place.tell("n1", "STOP", "p-1")
    place.await_route("p-1", "n1", "STOPPED")


def test_read_only_freezes(place: Place) -> None:
    """No agent changes and none is taken; with READ_WRITE all go on."""
    place.start("n1", "r-1", "r-2:Plain")
    place.await_steps("n1", "r-2", 3)
    place.tell("n1", "READ_ONLY")
    eventually(lambda: place.mode("n1") is NodeMode.READ_ONLY, PATIENCE_S, "it says so")
    frozen = {r.agent_id: r.version for r in place.tell("n1", "VERIFY", "r-1", "r-2") if r.ok}
    time.sleep(0.5)
    now = {r.agent_id: r.version for r in place.tell("n1", "VERIFY", "r-1", "r-2") if r.ok}
    assert frozen.items() <= now.items()
    command = place.send("n1", "START", "r-3")
    (reply, *_) = place.control.wait([command], PATIENCE_S)[command.command_id]
    assert "READ_ONLY" in reply.error
    place.tell("n1", "READ_WRITE")
    for agent in ("r-1", "r-2"):
        place.await_steps("n1", agent, 3)


def test_a_command_is_obeyed_once(place: Place) -> None:
    """However often it is sent; it is answered each time."""
    place.start("n1", "once-1")
    (first,) = place.tell("n1", "RESTART", "once-1")
    command = place.send("n1", "RESTART", "once-1")
    (second,) = place.answer(command)
    place.control.send(command)
    (again,) = place.answer(command)
    assert (second.epoch, again) == (first.epoch + 1, second)
    checkpointed = place.tell("n1", "CHECKPOINT", "once-1", label="here")
    with headwater.connect(place.config) as client:
        (kept,) = client.checkpoints("once-1")
    assert (kept.checkpoint_id, kept.label) == (checkpointed[0].detail["checkpoint_id"], "here")
    (gone,) = place.tell("n1", "STOP", "nobody-1")
    assert not gone.ok
    (unknown,) = place.tell("n1", "START", "x-1:Nope")
    assert "Nope" in unknown.error
