"""Recorded events through new code: what is the same, and where it begins to differ."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from confluent_kafka import TopicPartition

import headwater
from headwater import AgentState, Client, Config, RecordedEvent, Rehearsed
from headwater.cli.errors import Exit
from headwater.errors import AgentNotFound
from headwater.kafka import clients
from headwater.recovery import Failed
from tests.integration.test_cli_checkpoint import run, run_json
from tests.support.clusters import Kafka, fresh_config
from tests.support.sessions import append
from tests.support.stage import Stage, compacting

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

CODE = """
def same(state, event):
    event.apply(state)

def anew(state, event):
    event.apply(state)
    return type(state)(**{name: getattr(state, name) for name in state.__slots__})

def shouts(state, event):
    event.apply(state)
    if event.version > 2 and state.messages:
        state.messages[-1] = str(state.messages[-1]).upper()

def breaks(state, event):
    event.apply(state)
    if event.version == 3:
        raise ValueError("not yet \\\\x1b[31mwritten")

def wrong(state, event):
    return "nothing"

number = 5
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A module of new code that can be imported."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "new_code_of_test.py").write_text(CODE.replace("\\\\", "\\"))
    sys.path.insert(0, str(folder))
    yield "new_code_of_test"
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def filled(headwater_kafka: Kafka) -> Iterator[Client]:
    """Agents with changes, checkpoints, a restore, a fork and a second life."""
    with headwater.connect(fresh_config(headwater_kafka)) as hw:
        with hw.agent("plain") as agent:
            for text in ("a", "b", "c", "d"):
                append(agent, text)
            agent.checkpoint()
        with hw.agent("back") as agent:
            for text in ("x", "y", "z"):
                append(agent, text)
            agent.restore(1)
            append(agent, "w")
        hw.fork("plain", 2, "forked")
        with hw.agent("forked") as agent:
            append(agent, "own")
        with hw.agent("twice") as agent:
            append(agent, "first life")
        hw.delete("twice")
        with hw.agent("twice") as agent:
            append(agent, "second life")
        yield hw


def by_id(found: Iterator[Rehearsed | Failed]) -> dict[str, Rehearsed]:
    """What became of each agent."""
    return {each.agent_id: each for each in found if isinstance(each, Rehearsed)}


def test_what_was_recorded_comes_out_the_same(filled: Client) -> None:
    """Each version of each agent, whatever its log is made of."""
    seen: list[RecordedEvent] = []

    def watching(state: AgentState, event: RecordedEvent) -> None:
        seen.append(event)
        event.apply(state)

    found = by_id(filled.rehearse(None, watching))
    assert sorted(found) == ["back", "forked", "plain", "twice"]
    assert all(each.same for each in found.values())
    assert (found["plain"].version, found["plain"].events) == (4, 4)
    assert (found["back"].version, found["back"].events) == (5, 5)
    assert (found["forked"].version, found["forked"].events) == (2, 2)
    assert (found["twice"].version, found["twice"].events) == (3, 3)
    own = [event for event in seen if event.agent_id == "plain"]
    assert [event.version for event in own] == [1, 2, 3, 4]
    assert {event.kind for event in seen} == {"CHANGE"}
    assert own[0].description.endswith("1 new message")
    assert abs((datetime.now(UTC) - own[0].created_at).total_seconds()) < 60
    assert own[0].ops


def test_the_first_version_that_differs_is_found(filled: Client) -> None:
    """With what is different there; agents that the new code treats alike are not blamed."""

    def later(state: AgentState, event: RecordedEvent) -> AgentState:
        event.apply(state)
        if event.version >= 3:
            state.data["extra"] = event.version
        return state

    found = by_id(filled.rehearse(["plain", "forked"], later))
    assert found["forked"].same
    plain = found["plain"]
    assert not plain.same
    assert plain.different_at == plain.version == 3
    assert plain.difference is not None
    assert [place.path[0] for place in plain.difference.places] == ["data"]
    assert plain.state_hash != plain.recorded_hash == filled.at("plain", 3).state_hash


def test_code_that_fails_is_named_with_its_version(filled: Client) -> None:
    """An exception, a wrong result, a value that no state can hold; the others go on."""

    def fails(state: AgentState, event: RecordedEvent) -> AgentState | None:
        event.apply(state)
        if event.agent_id == "plain":
            raise ZeroDivisionError("in new code")
        if event.agent_id == "back":
            return 5  # type: ignore[return-value]
        if event.agent_id == "forked":
            state.data["x"] = object()
        return None

    found = by_id(filled.rehearse(None, fails))
    assert found["twice"].same
    said = {name: found[name].error or "" for name in ("plain", "back", "forked")}
    assert "ZeroDivisionError: in new code" in said["plain"]
    assert "returned int" in said["back"]
    assert "data.x cannot be kept" in said["forked"]
    assert (found["plain"].different_at, found["forked"].different_at) == (1, 2)


def test_an_agent_that_is_not_there_is_a_failure(filled: Client) -> None:
    """And holds nobody up."""
    found = list(filled.rehearse(["nobody", "plain"], lambda state, event: event.apply(state)))
    (failed,) = [each for each in found if isinstance(each, Failed)]
    assert isinstance(failed.error, AgentNotFound)
    assert by_id(iter(found))["plain"].same


def test_the_command_is_fit_for_ci(filled: Client, code: str) -> None:
    """0 where all is the same, 1 where not, 3 for what is not there, 2 for wrong usage."""
    config = filled.config
    for function in ("same", "anew"):
        rows = run_json(config, "replay", "--all", "--through", f"{code}:{function}")
        assert {row["outcome"] for row in rows} == {"same"}
    shouted = run(config, "replay", "plain", "--through", f"{code}:shouts", code=Exit.FAILED)
    assert "plain is DIFFERENT from version 3 on:" in shouted.stderr
    assert "messages[2]" in shouted.stderr
    rows = run_json(config, "replay", "--all", "--through", f"{code}:shouts", code=Exit.FAILED)
    (row,) = [row for row in rows if row["agent_id"] == "plain"]
    assert (row["outcome"], row["different_at"]) == ("different", 3)
    assert json.dumps(row["difference"])
    broken = run(config, "replay", "plain", "--through", f"{code}:breaks", code=Exit.FAILED)
    assert "plain FAILED at version 3" in broken.stderr
    assert "ValueError" in broken.stderr
    run(config, "replay", "plain", "--through", f"{code}:wrong", code=Exit.FAILED)
    run(config, "replay", "nobody", "--through", f"{code}:same", code=Exit.NOT_FOUND)
    for through in ("nowhere:same", f"{code}:missing", f"{code}:number", "same"):
        run(config, "replay", "--all", "--through", through, code=Exit.USAGE)
    run(config, "replay", "--through", f"{code}:same", code=Exit.USAGE)


def test_where_early_events_are_gone_it_starts_at_what_can_be_proved(
    headwater_kafka: Kafka,
) -> None:
    """At the oldest snapshot from which events lead on; an agent that began later, at its start."""
    config: Config = fresh_config(headwater_kafka, partitions=1)
    with headwater.connect(config) as hw:
        stage = Stage(config)
        with compacting(config), hw.agent("old") as agent:
            for n in range(3):
                append(agent, n)
                stage.await_end()
            cut = stage.end(0)
            with hw.agent("new") as later:
                append(later, "n")
            append(agent, "after")
            stage.await_end()
        place = TopicPartition(config.topic("events"), 0, cut)
        admin = clients.admin(config)
        admin.delete_records([place])[place].result(30)
        found = by_id(hw.rehearse(None, lambda state, event: event.apply(state)))
        stage.close()
    assert found["old"].same
    assert (found["old"].from_version, found["old"].version, found["old"].events) == (3, 4, 1)
    assert (found["new"].from_version, found["new"].events) == (0, 1)
