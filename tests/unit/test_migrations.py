"""Versions of states: the registry, what is upgraded and refused, and what keeps the version."""

from __future__ import annotations

from typing import Any

import pytest

from headwater import AgentState, Failed, Migrations
from headwater.agent.body import Body
from headwater.errors import (
    AgentNotFound,
    ConfigError,
    InvalidState,
    StateTooNew,
    UpgradeFailed,
)
from headwater.log.fold import Agent, new_agent
from headwater.recovery import Recovered
from headwater.state.model import Document, new_document
from headwater.state.version import STATE_VERSION


def _migrations() -> Migrations:
    """Two steps: a field is renamed in place, then another state is made."""
    migrations = Migrations()

    @migrations.upgrade(from_version=1)
    def rename(state: AgentState) -> None:
        state.data["plan"] = state.data.pop("todo", [])

    @migrations.upgrade(from_version=2)
    def count(state: AgentState) -> AgentState:
        return AgentState(
            state.agent_id,
            session_id=state.session_id,
            data={**state.data, "steps": len(state.data["plan"])},
        )

    return migrations


def _recovered(**fields: Any) -> Recovered:
    document: Document = {**new_document(), "session_id": "s", **fields}
    return Recovered(
        agent=Agent(new_agent("a").head, document),
        partition=0,
        next_offset=0,
        records=0,
        size_bytes=0,
        snapshots=0,
        tail_records=0,
        seconds=0.0,
    )


def test_steps_are_applied_in_order_to_a_copy() -> None:
    """From where the state is to the newest version; the log's document stays as it was."""
    old = _recovered(data={"todo": ["x", "y"]})
    new = _migrations().upgraded(old)
    assert new.state.data == {"plan": ["x", "y"], "steps": 2}
    assert new.state.metadata == {STATE_VERSION: 3}
    assert (old.upgraded_from, new.upgraded_from) == (None, 1)
    assert old.state.data == {"todo": ["x", "y"]}
    later = _migrations().upgraded(_recovered(data={"plan": []}, metadata={STATE_VERSION: 2}))
    assert (later.upgraded_from, later.state.data) == (2, {"plan": [], "steps": 0})


def test_what_is_current_or_new_is_left_alone() -> None:
    """At the code's version, or before the first change, there is nothing to do."""
    for recovered in (_recovered(metadata={STATE_VERSION: 3}), _recovered(session_id="")):
        assert _migrations().upgraded(recovered) is recovered
    assert Migrations().upgraded(_recovered()).upgraded_from is None


def test_a_newer_state_is_refused() -> None:
    """The message names the agent, both versions, and that nothing was changed."""
    newer = _recovered(metadata={STATE_VERSION: 4})
    with pytest.raises(StateTooNew, match=r"'a'.*version 4.*up to 3.*nothing was changed"):
        _migrations().upgraded(newer)
    with pytest.raises(StateTooNew):
        Migrations().upgraded(_recovered(metadata={STATE_VERSION: 2}))


@pytest.mark.parametrize("version", [0, -1, "2", 2.0, True, None])
def test_a_version_that_is_none(version: Any) -> None:
    """Anything but an int above 0 under the key is no version."""
    with pytest.raises(InvalidState) as caught:
        _migrations().upgraded(_recovered(metadata={STATE_VERSION: version}))
    assert caught.value.check == "state_version"


def _raises(state: AgentState) -> None:
    raise KeyError("plan")


def _returns_rubbish(state: AgentState) -> Any:
    return {"data": {}}


def _breaks_a_type(state: AgentState) -> None:
    state.data["when"] = object()


def _breaks_metadata(state: AgentState) -> None:
    state.metadata = None  # type: ignore[assignment]


def _takes_another_name(state: AgentState) -> None:
    state.agent_id = "b"


@pytest.mark.parametrize(
    "function",
    [_raises, _returns_rubbish, _breaks_a_type, _breaks_metadata, _takes_another_name],
)
def test_a_failing_upgrade_names_agent_step_and_cause(function: Any) -> None:
    """Whatever a function does wrong, the error says which one it was, and for which agent."""
    migrations = Migrations()
    migrations.upgrade(from_version=1)(function)
    with pytest.raises(UpgradeFailed, match=f"'a'.*{function.__name__}.*1 to 2") as caught:
        migrations.upgraded(_recovered())
    assert (caught.value.agent_id, caught.value.from_version) == ("a", 1)
    assert caught.value.__cause__ is not None
    assert type(caught.value.__cause__).__name__ in str(caught.value)


def test_one_of_many_that_cannot_be_upgraded_is_a_failed_one() -> None:
    """The others are not held up; what had failed before stays as it is."""
    migrations = _migrations()
    found = migrations.upgraded_or_failed(_recovered(metadata={STATE_VERSION: 9}))
    assert isinstance(found, Failed)
    assert isinstance(found.error, StateTooNew)
    assert found.agent_id == "a"
    failed = Failed(agent_id="b", error=AgentNotFound("b"))
    assert migrations.upgraded_or_failed(failed) is failed
    assert isinstance(migrations.upgraded_or_failed(_recovered()), Recovered)


def test_steps_are_registered_once_and_without_gaps() -> None:
    """Two of one version, a version below 1 and a missing one are errors of the configuration."""
    migrations = Migrations()
    assert migrations.current == 1
    migrations.check()
    assert migrations.upgrade(from_version=1)(_raises) is _raises
    assert migrations.current == 2
    with pytest.raises(ConfigError, match="two upgrades from version 1"):
        migrations.upgrade(from_version=1)
    with pytest.raises(ConfigError, match="begin at 1"):
        migrations.upgrade(from_version=0)
    migrations.upgrade(from_version=4)(_raises)
    with pytest.raises(ConfigError, match=r"from version 2, 3,.* newest version is 5"):
        migrations.check()


def _body(code_version: int | None, **fields: Any) -> Body:
    return Body(
        "a",
        {**new_document(), **fields},
        session_id="s",
        request_id=None,
        max_state_bytes=1 << 20,
        max_change_bytes=1 << 20,
        code_version=code_version,
    )


def _change(body: Body, **metadata: Any) -> dict[str, Any]:
    """The metadata after one change that replaces it."""
    view = body.begin()
    view.metadata = metadata
    view.step = view.step + 1
    body.seal()
    body.end()
    return body.copy().metadata


def test_a_new_agents_first_change_says_the_version() -> None:
    """And no change after it loses it, or the version of a state that was there before."""
    body = _body(3)
    assert _change(body, mine=1) == {"mine": 1, STATE_VERSION: 3}
    assert _change(body) == {STATE_VERSION: 3}
    assert _change(body, **{STATE_VERSION: 7}) == {STATE_VERSION: 3}
    assert _change(_body(3, session_id="s", metadata={STATE_VERSION: 2})) == {STATE_VERSION: 2}
    assert _change(_body(3, session_id="s")) == {}
    assert _change(_body(None, session_id="s"), x=1) == {"x": 1}
    assert _change(_body(3, session_id="s", metadata={STATE_VERSION: "no"})) == {}


def test_a_change_that_is_taken_back_takes_its_version_back() -> None:
    """An upgrade that was not sent leaves the version of the state that is there."""
    body = _body(3, session_id="s")
    body.state_version = 3
    body.begin().step = 5
    body.seal()
    assert body.copy().metadata == {STATE_VERSION: 3}
    body.abandon()
    assert body.state_version == 1
    assert _change(body) == {}
