"""What heartbeats say, and when."""

from __future__ import annotations

from typing import Any

from headwater.fleet.records import Heartbeat, NodeMode
from headwater.node.hosted import HostedAgent, Kind, kind_of
from headwater.node.report import Reporter
from headwater.node.slot import Life, Slot
from headwater.wire import codec


class Worker(HostedAgent):
    def step(self, agent: Any) -> None:
        """Nothing."""


class FakeSession:
    epoch, version, size_bytes = 2, 5, 100


class FakeHost:
    """The part of a host that is reported."""

    def __init__(self, agents: int) -> None:
        kind: Kind = kind_of(Worker)
        self.kinds = {kind.name: kind}
        self.mode = NodeMode.RUNNING
        self.strain = False
        self.gone: list[Slot] = []
        self.changed: set[Slot] = set()
        self.stepped: set[Slot] = set()
        self.slots: dict[str, Slot] = {}
        for number in range(agents):
            slot = Slot(f"a{number}", kind)
            slot.adopt(Life(FakeSession(), Worker(), None))  # type: ignore[arg-type]
            self.slots[slot.agent_id] = slot

    def strained(self) -> bool:
        """Whether the lease is in danger."""
        return self.strain


def beat(reporter: Reporter) -> Heartbeat:
    """The next heartbeat, through its encoding."""
    own = {
        "node_id": "n", "incarnation": bytes(16), "kind": "BEAT", "sequence": 1,
        "lease_ms": 600, "sent_at": 0,
    }  # fmt: skip
    return Heartbeat.decode(codec("Heartbeat").encode(own | reporter()))


def test_all_once_a_second_and_changes_in_between() -> None:
    """What befell an agent is told with the next beat, all agents every second."""
    host, now = FakeHost(3), [10.0]
    reporter = Reporter(host, clock=lambda: now[0])  # type: ignore[arg-type]
    first = beat(reporter)
    assert first.agents_complete
    assert [a.agent_id for a in first.agents] == ["a0", "a1", "a2"]
    assert [k.kind for k in first.kinds] == ["Worker"]
    assert (first.agents[0].epoch, first.agents[0].version) == (2, 5)
    now[0] += 0.2
    host.slots["a1"].set(paused=True)
    host.changed.add(host.slots["a1"])
    lost = host.slots.pop("a2")
    lost.leave()
    host.gone.append(lost)
    second = beat(reporter)
    assert not second.agents_complete
    assert {a.agent_id: a.state.value for a in second.agents} == {"a1": "PAUSED", "a2": "GONE"}
    assert beat(reporter).agents == []
    now[0] += 1
    assert [a.agent_id for a in beat(reporter).agents] == ["a0", "a1"]


def test_the_progress_of_a_large_node_waits_for_the_complete_beat() -> None:
    """A few hundred steps between two beats do not make each beat large."""
    host, now = FakeHost(500), [10.0]
    reporter = Reporter(host, clock=lambda: now[0])  # type: ignore[arg-type]
    beat(reporter)
    host.stepped.update(host.slots.values())
    host.changed.add(host.slots["a7"])
    said = {a.agent_id for a in beat(reporter).agents}
    assert "a7" in said
    assert len(said) <= 101


def test_what_takes_long_waits_while_the_lease_is_in_danger() -> None:
    """All agents are told two seconds later then, but they are told."""
    host, now = FakeHost(3), [10.0]
    reporter = Reporter(host, clock=lambda: now[0])  # type: ignore[arg-type]
    assert beat(reporter).agents_complete
    host.strain = True
    now[0] += 1.5
    assert not beat(reporter).agents_complete
    now[0] += 1.5
    assert beat(reporter).agents_complete
    host.strain = False
    now[0] += 1.0
    assert beat(reporter).agents_complete
