"""What the lease's end stops, and what its return starts; and what is kept meanwhile."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headwater.agent.lease import LeaseClock
from headwater.errors import HeadwaterError, Unavailable
from headwater.log.exports import decode_export
from headwater.node.chores import Chores
from headwater.node.fencing import Fence, keep_session
from headwater.node.hosted import HostedAgent, kind_of
from headwater.node.slot import Life, Slot
from headwater.state.model import AgentState
from headwater.tiers.files import open_files
from tests.support.processes import eventually
from tests.unit.node.test_slot import Hands


class Worker(HostedAgent):
    def step(self, agent: Any) -> None:
        """Nothing."""


class FakeSession:
    """A session that has made a change."""

    session_id = "s"
    _hash = bytes(32)
    _sequence = 3
    epoch, version, size_bytes = 1, 3, 10

    def __init__(self, agent_id: str) -> None:
        self.agent_id = agent_id
        self.disowned: list[HeadwaterError] = []

    def copy(self) -> AgentState:
        return AgentState(self.agent_id, session_id="s", status="working", data={"n": 3})

    def disown(self, error: HeadwaterError) -> None:
        self.disowned.append(error)

    def _made(self, *args: Any) -> Any:
        from headwater.agent.base import SessionBase

        self._who = SimpleNamespace(request_id=None)
        self._parts = SimpleNamespace(lease=SimpleNamespace(node_id="n1"))
        return SessionBase._made(self, *args)  # type: ignore[arg-type]


class FakeHost:
    """Two agents; interrupting them ends their lives."""

    def __init__(self) -> None:
        self.fenced = False
        self.slots = {name: Slot(name, kind_of(Worker)) for name in ("a", "b")}
        self.audits: list[str] = []
        self.posts = SimpleNamespace(audit=lambda action, **_: self.audits.append(action))
        self.sessions = {name: FakeSession(name) for name in self.slots}
        for name, slot in self.slots.items():
            slot.adopt(Life(self.sessions[name], Worker(), None))  # type: ignore[arg-type]

    def interrupt_all(self, error: HeadwaterError) -> list[Any]:
        lives = [life for slot in self.slots.values() if (life := slot.abandon()) is not None]
        for life in lives:
            life.session.disown(error)
        return [life.session for life in lives]


class Stage:
    """A fence, with a lease whose clock is moved by hand."""

    def __init__(self, directory: Path) -> None:
        self.clock = Hands()
        self.lease = SimpleNamespace(
            clock=LeaseClock(0.6, self.clock), lease_ms=600, node_id="n1", strained=False
        )
        self.host = FakeHost()
        self.resumed: list[int] = []
        self.tier = open_files(str(directory))
        lease: Any = self.lease
        host: Any = self.host
        self.fence = Fence(lease, host, Chores(1), self.tier, self.resumed.append)

    def beat(self, took_s: float = 0.0) -> None:
        sent_s = self.clock.now_s
        self.clock.now_s += took_s
        self.lease.clock.acknowledged(sent_s)

    def at(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.fence.look()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_before_the_first_lease_there_is_nothing_to_fence(stage: Stage) -> None:
    """A node that has never been heard of has no agents to stop."""
    stage.at(5)
    assert not stage.host.fenced
    assert stage.host.audits == []


def test_at_its_end_all_stop_and_are_kept(stage: Stage) -> None:
    """Sessions are disowned at once; their states are on the node's own disk soon after."""
    stage.beat()
    stage.at(0.5)
    assert not stage.host.fenced
    stage.at(0.1)
    assert stage.host.fenced
    assert all(session.disowned for session in stage.host.sessions.values())
    eventually(lambda: "node.emergency" in stage.host.audits, 10, "the states are kept")
    keys = [entry.key for entry in stage.tier.scan("emergency/")]
    assert [key.split("/")[1] for key in keys] == ["a", "b"]
    checkpoint, document = decode_export(stage.tier.get(keys[0]) or b"")
    assert (checkpoint.agent_id, checkpoint.version, checkpoint.type) == ("a", 3, "emergency")
    assert document["data"] == {"n": 3}


def test_it_goes_on_with_a_lease_that_will_last(stage: Stage) -> None:
    """Not with one that an answer came so late for that it is about to run out again."""
    stage.beat()
    stage.at(0.0)
    stage.at(1.0)
    stage.beat(took_s=0.55)
    stage.at(0.0)
    assert stage.host.fenced
    stage.beat(took_s=0.1)
    stage.at(0.0)
    assert not stage.host.fenced
    assert len(stage.resumed) == 1


def test_it_does_not_go_on_while_heartbeats_take_long(stage: Stage) -> None:
    """What all its agents would do at once is what such brokers need least."""
    stage.beat()
    stage.at(0.0)
    stage.at(1.0)
    stage.lease.strained = True
    stage.beat()
    stage.at(0.0)
    assert stage.host.fenced
    stage.lease.strained = False
    stage.at(0.0)
    assert not stage.host.fenced


def test_nothing_is_kept_once_the_log_can_be_had_again(stage: Stage) -> None:
    """A lapse that is over already must not cost the work of keeping all agents."""
    stage.beat()
    stage.at(0.0)
    stage.clock.now_s += 1.0
    stage.beat()
    chores: list[Any] = []
    stage.fence._chores = SimpleNamespace(do=chores.append)  # type: ignore[assignment]
    stage.fence.look()
    assert not stage.host.fenced
    chores[0]()
    assert stage.host.audits == ["node.fenced", "node.emergency"]
    assert list(stage.tier.scan("emergency/")) == []


def test_a_lapse_that_nobody_saw_stops_all_as_well(stage: Stage) -> None:
    """A process that was suspended may find a new lease already: its claims are of the old one."""
    stage.beat()
    stage.at(0.0)
    stage.clock.now_s += 5
    stage.beat()
    stage.fence.look()
    assert all(session.disowned for session in stage.host.sessions.values())
    assert not stage.host.fenced
    assert stage.resumed
    stage.at(0.1)
    assert stage.host.audits.count("node.fenced") == 1


def test_only_the_last_files_of_an_agent_are_kept(tmp_path: Path) -> None:
    """A node that is cut off again and again does not fill its disk."""
    tier, session = open_files(str(tmp_path)), FakeSession("a")
    for version in range(6):
        session.version = version
        assert keep_session(tier, session, "why")  # type: ignore[arg-type]
    names = [entry.key.rpartition("-")[2] for entry in tier.scan("emergency/a/")]
    assert sorted(names) == ["3", "4", "5"]


def test_a_disk_that_is_full_keeps_nobody_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be kept is logged; a state that changes under the hands is copied again."""
    tier, session = open_files(str(tmp_path)), FakeSession("a")
    tries = iter([RuntimeError("dictionary changed size during iteration"), None])
    plain = session.copy

    def copy() -> AgentState:
        if (error := next(tries, None)) is not None:
            raise error
        return plain()

    session.copy = copy  # type: ignore[method-assign]
    assert keep_session(tier, session, "why")  # type: ignore[arg-type]

    def full(key: str, sealed: bytes) -> None:
        raise Unavailable("no space left on device")

    monkeypatch.setattr(tier, "put", full)
    assert not keep_session(tier, session, "why")  # type: ignore[arg-type]
