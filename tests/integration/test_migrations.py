"""Upgrades of states through a real log: what is published, what is not, and who is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import headwater
from headwater import (
    AgentOwned,
    AgentState,
    Client,
    Config,
    ConfigError,
    Failed,
    Migrations,
    Recovered,
    StateTooNew,
    UpgradeFailed,
)
from headwater.state.version import STATE_VERSION

pytestmark = pytest.mark.kafka


def _migrations(steps: int) -> Migrations:
    """``steps`` upgrades, each of which appends its number and multiplies what is there."""
    migrations = Migrations()
    for step in range(1, steps + 1):

        @migrations.upgrade(from_version=step)
        def upgrade(state: AgentState, step: int = step) -> None:
            if state.data.get("broken"):
                raise KeyError("plan")
            state.data["steps"] = [*state.data.get("steps", ()), step]

    return migrations


@pytest.fixture(scope="module")
def new(hw: Client, config: Config) -> Iterator[Client]:
    """A connection of newer code, whose states have version 3."""
    with headwater.connect(config.with_(node_id="new"), migrations=_migrations(2)) as client:
        yield client


def _write(hw: Client, agent_id: str, **data: Any) -> None:
    """An agent that code without migrations wrote, given up again."""
    with hw.agent(agent_id, session="old") as agent, agent.change() as state:
        state.status = "running"
        state.data = data


def test_an_old_state_is_upgraded_by_one_change(hw: Client, new: Client) -> None:
    """All steps at once, before the block; reading alone publishes nothing."""
    _write(hw, "old", x=1)
    read = new.get("old")
    assert (read.upgraded_from, read.state.data) == (1, {"x": 1, "steps": [1, 2]})
    assert new.recover("old", upgrade=False).state.data == {"x": 1}
    assert hw.get("old").version == 1
    with new.agent("old", session="s") as agent:
        assert (agent.version, agent.recovered.upgraded_from) == (2, 1)
        assert agent.state.data["steps"] == [1, 2]
        assert hw.get("old").state.metadata == {STATE_VERSION: 3}
    with new.agent("old") as agent:
        assert (agent.version, agent.recovered.upgraded_from) == (2, None)
        with agent.change() as state:
            state.metadata = {"mine": True}
    found = new.get("old")
    assert (found.version, found.upgraded_from) == (3, None)
    assert found.state.metadata == {"mine": True, STATE_VERSION: 3}


def test_a_new_agent_has_the_codes_version(new: Client) -> None:
    """Its first change says so, and no upgrade is ever applied to it; a replacement keeps it."""
    with new.agent("fresh") as agent, agent.change() as state:
        state.data["x"] = 1
    with new.agent("fresh") as agent:
        assert (agent.version, agent.copy().data) == (1, {"x": 1})
        agent.replace(AgentState("fresh", data={"x": 2}))
    found = new.get("fresh")
    assert (found.state.data, found.upgraded_from) == ({"x": 2}, None)
    assert found.state.metadata == {STATE_VERSION: 3}


def test_a_newer_state_is_refused_and_untouched(config: Config, new: Client) -> None:
    """Reading and opening say so; nothing is published, and nobody owns the agent afterwards.
    Deleting it needs no version.
    """
    with new.agent("newer") as agent, agent.change() as state:
        state.step = 1
    with headwater.connect(config.with_(node_id="old"), migrations=_migrations(1)) as old:
        for read in (old.get, old.recover):
            with pytest.raises(StateTooNew, match="version 3"):
                read("newer")
        for claim in ("wait", None):
            with pytest.raises(StateTooNew), old.agent("newer", claim=claim):
                pytest.fail("the block must not run")
        found = old.get("newer", upgrade=False)
        assert (found.version, found.head.owned, found.state.step) == (1, False, 1)
        old.delete("newer")


def test_a_failing_upgrade_publishes_nothing(hw: Client, new: Client) -> None:
    """The error names agent and step; the agent is given up, as it was; others of many go on."""
    _write(hw, "broken", broken=True)
    _write(hw, "sound")
    for claim in ("wait", None):
        with (
            pytest.raises(UpgradeFailed, match=r"'broken'.*1 to 2.*KeyError"),
            new.agent("broken", claim=claim),
        ):
            pytest.fail("the block must not run")
    found = hw.get("broken")
    assert (found.version, found.head.owned, found.state.metadata) == (1, False, {})
    many = {r.agent_id: r for r in new.recover_many(["broken", "sound"])}
    failed, sound = many["broken"], many["sound"]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, UpgradeFailed)
    assert isinstance(sound, Recovered)
    assert sound.upgraded_from == 1


def test_without_a_claim(hw: Client, new: Client) -> None:
    """The upgrade is a compare-and-set; while somebody owns the agent, it is theirs to make."""
    _write(hw, "unclaimed", x=1)
    with new.agent("unclaimed", claim=None) as agent:
        assert (agent.version, agent.recovered.upgraded_from) == (2, 1)
        with agent.change() as state:
            state.step = 7
    found = hw.get("unclaimed").state
    assert (found.data, found.step) == ({"x": 1, "steps": [1, 2]}, 7)
    assert found.metadata == {STATE_VERSION: 3}
    _write(hw, "theirs")
    with hw.agent("theirs") as owner:
        assert owner.version == 1
        with pytest.raises(AgentOwned), new.agent("theirs", claim=None):
            pytest.fail("the block must not run")


def test_async_sessions_are_upgraded(hw: Client, config: Config) -> None:
    """The asynchronous client does the same."""

    async def run() -> Recovered:
        connection = headwater.connect(config.with_(node_id="new"), migrations=_migrations(2))
        async with connection as client:
            assert (await client.get("async")).upgraded_from == 1
            async with client.agent("async") as agent:
                assert agent.recovered.upgraded_from == 1
                assert agent.state.data["steps"] == [1, 2]
            return await client.recover("async", upgrade=False)

    _write(hw, "async")
    assert asyncio.run(run()).state.metadata == {STATE_VERSION: 3}


def test_watching_shows_upgraded_states(hw: Client, new: Client) -> None:
    """Each state that is seen has the code's version."""
    _write(hw, "watched")
    seen = next(iter(new.watch("watched")))
    assert (seen.upgraded_from, seen.state.data["steps"]) == (1, [1, 2])


def test_a_gap_is_found_at_connect(config: Config) -> None:
    """Before anything is read, and before any connection is made."""
    migrations = Migrations()
    migrations.upgrade(from_version=2)(lambda state: None)
    with pytest.raises(ConfigError, match="from version 1"):
        headwater.connect(config, migrations=migrations)


def test_an_upgrade_that_came_second_starts_over(hw: Client, config: Config) -> None:
    """Without a claim another writer may come first: its state is upgraded then, nothing lost."""
    _write(hw, "raced", x=1)
    migrations, calls = Migrations(), []

    @migrations.upgrade(from_version=1)
    def upgrade(state: AgentState) -> None:
        calls.append(dict(state.data))
        if len(calls) == 1:
            with hw.agent("raced", claim=None) as rival, rival.change() as draft:
                draft.data["x"] = 2
        state.data["y"] = state.data["x"] * 10

    with (
        headwater.connect(config.with_(node_id="new"), migrations=migrations) as new,
        new.agent("raced", claim=None) as agent,
    ):
        assert agent.copy().data == {"x": 2, "y": 20}
    assert calls == [{"x": 1}, {"x": 2}]
    assert hw.get("raced").version == 3
