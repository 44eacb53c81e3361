"""Who lives, from heartbeats: partial ones are changes, a new process replaces the one before."""

from __future__ import annotations

from typing import Any

from headwater.fleet.pulse import Beat, Lives
from headwater.fleet.records import AgentMode, AgentReport, Heartbeat, KindReport, NodeMode


def beat(sequence: int, incarnation: bytes = b"1" * 16, **fields: Any) -> Beat:
    """A heartbeat of node n, read at its sequence in seconds."""
    record = Heartbeat(
        node_id="n", incarnation=incarnation, sequence=sequence, lease_ms=600, sent_at=0,
        mode=NodeMode.RUNNING, **fields,
    )  # fmt: skip
    return Beat(record=record, partition=0, offset=sequence, read_s=float(sequence))


def agent(name: str, **fields: Any) -> AgentReport:
    """A report of an agent."""
    return AgentReport(agent_id=name, kind="K", **fields)


def test_partial_beats_change_what_complete_ones_said() -> None:
    """Agents that are not mentioned stay, those that are gone go."""
    lives = Lives()
    lives.take(
        beat(1, agents_complete=True, agents=[agent("a"), agent("b")], kinds=[KindReport(kind="K")])
    )
    lives.take(beat(2, agents=[agent("b", step=7), agent("c")]))
    life = lives.current["n"]
    assert {name: a.step for name, a in life.agents.items()} == {"a": 0, "b": 7, "c": 0}
    assert set(life.kinds) == {"K"}
    lives.take(beat(3, agents=[agent("a", state=AgentMode.GONE)]))
    assert set(life.agents) == {"b", "c"}
    lives.take(beat(4, agents_complete=True, agents=[agent("c")]))
    assert set(life.agents) == {"c"} and not life.kinds
    assert (life.first_s, life.read_s, life.lease_s) == (1.0, 4.0, 0.6)


def test_a_new_process_replaces_the_one_before_for_good() -> None:
    """A late heartbeat of a process that was replaced does not bring it back."""
    lives = Lives()
    lives.take(beat(1, b"1" * 16, agents_complete=True, agents=[agent("a")]))
    lives.take(beat(2, b"2" * 16))
    lives.take(beat(3, b"1" * 16))
    assert lives.current["n"].incarnation == b"2" * 16
    assert set(lives.previous["n"].agents) == {"a"}
    lives.forget("n")
    assert not lives.current and not lives.previous


def test_probes_are_no_life() -> None:
    """A reader's own record renews nothing."""
    lives = Lives()
    lives.take(beat(1, kind="PROBE"))
    assert not lives.current
