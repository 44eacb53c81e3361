"""The fleet on a real Kafka: feeds, commands and replies, the audit, and where agents are."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from headwater import AgentNotFound, Client, Config
from headwater.fleet.audit import audit, read_audit
from headwater.fleet.control import Control
from headwater.fleet.feed import Feed, Sender, decoded
from headwater.fleet.pulse import Pulse
from headwater.fleet.records import Command, CommandKind, CommandReply, Route
from headwater.topics import connect_fleet

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def fleet(hw: Client, config: Config) -> Config:
    """The settings, once the fleet's topics are there."""
    connect_fleet(config)
    return config


def test_a_feed_starts_where_it_is_told(fleet: Config) -> None:
    """At the beginning, at the end, or at a time; what no release can read is passed over."""
    sender = Sender(fleet)
    first = Route(agent_id="early", kind="K", node_id="n", epoch=1)
    sender.put("routes", "early", first)
    end = Feed(fleet, "routes", "end")
    sender.put("routes", "late", Route(agent_id="late", kind="K", node_id="n", epoch=1))
    everything = Feed(fleet, "routes")
    names = {(m.key() or b"").decode() for m in everything.read_all()}
    assert {"early", "late"} <= names and everything.caught_up
    seen: set[str] = set()
    while "late" not in seen:
        seen |= {(m.key() or b"").decode() for m in end.read(1.0)}
    assert "early" not in seen
    (message,) = [m for m in Feed(fleet, "routes").read_all() if m.key() == b"early"]
    assert decoded(Route, message) == first
    assert decoded(Command, message) is None
    for feed in (end, everything):
        feed.close()
    sender.close()


def test_commands_are_answered(fleet: Config) -> None:
    """Whoever asks waits for the final reply of each command, and hears of those before it."""
    feed, control, sender = Feed(fleet, "commands", "end"), Control(fleet, "test"), Sender(fleet)

    def obey() -> None:
        while True:
            for message in feed.read(0.1):
                command = decoded(Command, message)
                assert command is not None
                for final in (False, True):
                    reply = CommandReply(
                        command_id=command.command_id, node_id=command.node_id, final=final
                    )
                    sender.put("replies", command.node_id, reply)
                return

    node = threading.Thread(target=obey)
    node.start()
    command = control.command("n", CommandKind.PAUSE, [("a", "")], {"x": 1}, reason="why")
    assert control.wait([command], 0.2) == {command.command_id: []}
    control.send(command)
    heard: list[CommandReply] = []
    replies = control.wait([command], 20, heard.append)[command.command_id]
    assert [r.final for r in replies] == [False, True] and heard == replies
    node.join()
    for each in (feed, control, sender):
        each.close()


def test_the_audit_is_read_in_order(fleet: Config) -> None:
    """What was written comes back in the order in which it was, with its details."""
    sender = Sender(fleet)
    for number in range(5):
        audit(sender, "user:me", "acknowledged", "node:n", failure_id="f", detail={"n": number})
    sender.close()
    found = [r for r in read_audit(fleet) if r.failure_id == "f"]
    assert [r.detail["n"] for r in found] == list(range(5))
    assert all(r.actor == "user:me" for r in found)


def test_where_an_agent_is(fleet: Config, hw: Client) -> None:
    """A node's route is found as soon as it is there, and changes are told to who follows."""
    with pytest.raises(AgentNotFound, match="no node"):
        hw.locate("located")
    sender = Sender(fleet)
    for epoch, node in ((1, "n1"), (2, "n2")):
        route = Route(agent_id="located", kind="K", node_id=node, epoch=epoch)
        sender.put("routes", "located", route)
        assert hw.locate("located") == route
    sender.put("routes", "located", Route(agent_id="located", kind="K", node_id="n1", epoch=1))
    assert hw.locate("located").node_id == "n2"
    following = hw.routes(follow=True, timeout=timedelta(seconds=20))
    assert "located" in [next(following).agent_id for _ in range(len(list(hw.routes())))]
    sender.put("routes", "located", Route(agent_id="located", kind="K", node_id="n3", epoch=3))
    assert next(following).node_id == "n3"
    following.close()  # type: ignore[attr-defined]
    sender.close()


def test_the_pulse_knows_who_beats(fleet: Config, hw: Client) -> None:
    """A process that owns agents beats; its lease is in its heartbeats, and so is each probe."""
    pulse = Pulse(fleet)
    with hw.agent("beating"):
        while "here" not in pulse.lives:
            pulse.read(0.5)
        offset = hw.lease.send_probe(pulse.lives["here"].partition)
        while pulse.positions[pulse.lives["here"].partition] <= offset:
            pulse.read(0.5)
    life = pulse.lives["here"]
    assert life.incarnation == hw.lease.incarnation
    assert (life.mode, life.lease_s) == ("CLIENT", 0.6)
    assert hw.lease.round_trip_s is not None
    pulse.close()
