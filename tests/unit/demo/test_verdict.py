"""The counters of the demo see what went wrong."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headwater.demo.direct import Kill, Ledger
from headwater.demo.plan import AgentPlan, Step
from headwater.demo.record import Event, Kind, Seen, read
from headwater.demo.verdict import judge
from headwater.log.fold import Agent, genesis
from headwater.recovery import Recovered
from headwater.state.model import AgentState

PLAN = AgentPlan(
    agent_id="a",
    steps=tuple(Step(id=s, kind="files", distribution="d", folder="/") for s in "xyz"),
)
KILL = Kill(who="worker-2", worker=2, pid=1, at_s=10.0, agents=("a",))


def state(*history: str, **changes: Any) -> AgentState:
    """A state that lists these steps."""
    past = [{"step": step} for step in history]
    return AgentState("a", session_id="s", execution_history=past, **changes)


def recovered(given: AgentState) -> Recovered:
    """The state as a recovery would return it."""
    return Recovered(
        agent=Agent(genesis("a"), given.to_document()),
        partition=0,
        next_offset=0,
        records=0,
        size_bytes=0,
        snapshots=0,
        tail_records=0,
        seconds=0.0,
    )


def seen(worker: int, at_s: float, kind: Kind, step: str, agent: str = "a") -> Seen:
    """An event."""
    return Seen(worker=worker, at_s=at_s, event=Event(kind=kind, agent=agent, step=step))


STORY = [
    seen(2, 1.0, "begin", "x"),
    seen(2, 2.0, "ack", "x"),
    seen(2, 3.0, "begin", "y"),
    seen(1, 10.5, "begin", "q", agent="b"),
    seen(1, 10.6, "ack", "q", agent="b"),
    seen(1, 10.7, "begin", "y"),
    seen(1, 10.75, "ack", "y"),
    seen(1, 10.8, "begin", "z"),
    seen(1, 10.9, "ack", "z"),
]
CALM = state("x", "y", "z")


def test_a_good_story() -> None:
    """An agent that was killed and went on: one step begun again, 750 ms, nothing wrong."""
    verdict = judge(PLAN, Ledger(seen=STORY, kills=[KILL]), recovered(CALM), CALM)
    assert verdict.good
    assert (verdict.steps, verdict.planned, verdict.restarted) == (3, 3, 1)
    assert verdict.recovery_ms == 750.0


def test_others_have_no_recovery() -> None:
    """An agent that was not killed has no recovery time, and nothing that was begun again."""
    verdict = judge(PLAN, Ledger(seen=STORY, kills=[]), recovered(CALM), CALM)
    assert (verdict.recovery_ms, verdict.restarted) == (None, 0)


@pytest.mark.parametrize(
    ("found", "lost", "repeated", "equal"),
    [
        (state("x", "z"), 1, 0, False),
        (state("x", "y", "y", "z"), 0, 1, False),
        (state("x", "y", "z", step=7), 0, 0, False),
        (state("x", "y", "z"), 0, 0, True),
        (None, 3, 0, False),
    ],
)
def test_counters(found: AgentState | None, lost: int, repeated: int, equal: bool) -> None:
    """A missing, a doubled and an altered step are each seen by the counter that is for them."""
    given = recovered(found) if found is not None else None
    verdict = judge(PLAN, Ledger(seen=STORY, kills=[KILL]), given, CALM)
    assert (verdict.lost, verdict.repeated, verdict.hash_equal) == (lost, repeated, equal)
    assert verdict.good is equal


def test_unacknowledged_steps_may_be_missing() -> None:
    """A step whose change was never acknowledged is not lost, though the agent is not finished."""
    verdict = judge(PLAN, Ledger(seen=STORY[:3], kills=[KILL]), recovered(state("x")), CALM)
    assert (verdict.lost, verdict.recovery_ms) == (0, None)
    assert not verdict.good


def test_events_are_short_lines() -> None:
    """What a worker says fits into one atomic write, and is read as it was meant."""
    event = Event(kind="ack", agent="auditor-64", step="a-rather-long-name/files-999#12", version=9)
    line = msgspec.json.encode(event) + b"\n"
    assert len(line) < 512
    assert read(line) == event
