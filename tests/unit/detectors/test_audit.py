"""What the audit of states finds wrong, and what not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consumers.detectors.corruption import Change, agent_of, complaint, is_declared, undeclared
from consumers.detectors.inconsistency import agrees, answers, differing
from consumers.detectors.journal import Table
from consumers.detectors.schedule import Guarded
from consumers.detectors.unseen import unseen_nodes
from headwater.errors import ConfigError
from headwater.fleet.records import AgentResult, FailureType, Route, Severity
from headwater.fleet.routes import RouteTable
from headwater.log.fold import new_agent
from headwater.log.sealing import encode_snapshot
from headwater.log.snapshots import Snapshot, full_snapshot, snapshot_key
from headwater.state.values import pack
from tests.support.damage import flipped


def full(**fields: Any) -> Snapshot:
    """A full snapshot of an agent whose document has these fields."""
    agent = new_agent("a")
    agent.document |= {"session_id": "s", "status": "working"} | fields
    return full_snapshot(agent, events_offset=0, node_id="c", created_at=0)


def no_chunks(offset: int) -> None:
    """No snapshot here is in pieces."""


def test_a_good_snapshot_is_good() -> None:
    """One of an agent that was claimed and never changed, too."""
    assert complaint(encode_snapshot(full()), no_chunks) == ""
    new = full_snapshot(new_agent("a"), events_offset=0, node_id="c", created_at=0)
    assert complaint(encode_snapshot(new), no_chunks) == ""
    assert agent_of(snapshot_key("a", 1, 2).encode()) == "a"


@pytest.mark.parametrize(
    ("snapshot", "what"),
    [
        (full(step=3, max_steps=2), "max_steps"),
        (full(status=""), "status"),
        (msgspec.structs.replace(full(), state_hash=bytes(32)), "another hash"),
        (msgspec.structs.replace(full(), kind="INCREMENTAL", payload=b"\xc1"), "checksum"),
    ],
)
def test_what_is_wrong_with_a_snapshot_is_said(snapshot: Snapshot, what: str) -> None:
    """Structure, hash, checksum."""
    assert what in complaint(encode_snapshot(snapshot), no_chunks)


def test_a_flipped_bit_is_found_wherever_it_is() -> None:
    """In the payload it is the checksum that shows it; a record cut short is not one at all."""
    value = encode_snapshot(full(data={"x": "y" * 50}))
    assert "checksum" in complaint(flipped(value), no_chunks)
    assert complaint(value[: len(value) // 2], no_chunks) != ""
    broken = msgspec.structs.replace(full(), payload=pack([1]))
    assert complaint(encode_snapshot(broken), no_chunks) != ""


def test_statuses_follow_what_is_declared() -> None:
    """One that is only named as a follower is a last one; a new agent's may be left for any."""
    ways = {"thinking": ["acting", "done"], "acting": ["thinking"]}
    assert is_declared({}, "a", "b")
    assert is_declared(ways, "new", "acting")
    assert is_declared(ways, "thinking", "done")
    assert is_declared(ways, "done", "done")
    assert not is_declared(ways, "acting", "done")
    assert not is_declared(ways, "done", "thinking")
    changes = [
        Change(version=3, before="acting", after="done"),
        Change(version=5, before="done", after="acting"),
    ]
    assert [c.version for c in undeclared(changes, ways, 0)] == [3, 5]
    assert [c.version for c in undeclared(changes, ways, 4)] == [5]


def test_answers_are_held_against_the_replay() -> None:
    """A version that the replay did not come by proves nothing."""
    result = AgentResult(agent_id="a", ok=True, version=4, detail={"state_hash": "ff"})
    refused = AgentResult(agent_id="b", ok=False, error="it is not on this node")
    (answer,) = answers("n", [result, refused])
    assert agrees(answer, {}) is None
    assert agrees(answer, {4: frozenset({"ff"})})
    assert agrees(answer, {4: frozenset({"ee"})}) is False
    finding = differing(answer, {4: frozenset({"ee"})}, 0)
    assert (finding.type, finding.subject) == (FailureType.DATA_INCONSISTENCY, "owner")


def test_what_was_said_is_not_said_again() -> None:
    """By id, by what it is about, and unless it has become worse."""
    table, routes = Table(), RouteTable()
    routes.take("a", Route(agent_id="a", kind="K", node_id="n", epoch=1))
    (finding,) = unseen_nodes(routes, (), table.last)
    assert not table.says(finding)
    event = finding.event(0, "d")
    table.take(event)
    assert table.says(finding)
    worse = msgspec.structs.replace
    assert not table.says(type(finding)(**_fields(finding) | {"severity": Severity.CRITICAL}))
    table.take(worse(event, resolved=True))
    assert table.says(finding)
    (another,) = unseen_nodes(routes, (), table.last)
    assert another.failure_id != finding.failure_id
    assert not table.says(another)
    assert list(unseen_nodes(routes, {"n"}, table.last)) == []
    table.take(another.event(0, "d"))
    table.take(worse(event, resolved=True))
    assert [e.failure_id for e in table.open(FailureType.NODE_FAILURE)] == [another.failure_id]


def _fields(finding: Any) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in finding.__dataclass_fields__}


def test_a_detectors_error_is_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """The others go on; the same error is shown once; wrong settings end it all."""

    def fail(argument: Any) -> None:
        raise argument

    guarded = Guarded("it", fail)
    guarded(ValueError("x"))
    guarded(ValueError("x"))
    assert guarded.errors == 2
    assert [r.levelname for r in caplog.records if r.levelname == "ERROR"] == ["ERROR"]
    with pytest.raises(ConfigError):
        guarded(ConfigError("no"))
