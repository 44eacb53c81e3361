"""Time travel against a real broker and compactor: past states, forks, restores, and their ends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import OFFSET_END, TopicPartition

import headwater
from headwater import Client, Config, InvalidState
from headwater.agent.session import Session
from headwater.cli import cli
from headwater.cli.errors import Exit
from headwater.errors import AgentExists, AgentNotFound, PointNotFound
from headwater.kafka import clients
from headwater.state.model import state_hash
from streams.snapshots import Compactor
from tests.support.clusters import Kafka, fresh_config
from tests.support.fleet import await_compacted
from tests.support.sessions import append
from tests.support.stage import compacting

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def compactor(config: Config, hw: Client) -> Iterator[Compactor]:
    """A compactor that runs while the module's tests do."""
    with compacting(config) as running:
        yield running


def caught_up(hw: Client) -> None:
    """Wait until all that was written is compacted."""
    await_compacted(hw.config, hw.partitions)


def grow(session: Session, count: int, *, pause_s: float = 0.0) -> dict[int, bytes]:
    """So many changes; the hash of the state at each version."""
    hashes = {}
    for number in range(count):
        with session.change() as state:
            state.messages.append(f"message {number} of version {session.version}")
            state.step += 1
        hashes[session.version] = state_hash(session.agent_id, session._body.document)
        time.sleep(pause_s)
    return hashes


def test_every_version_and_time_can_be_looked_at(hw: Client, compactor: Compactor) -> None:
    """While it changes, and once it is compacted, whatever chain the version is in."""
    times = {}
    with hw.agent("past") as agent:
        hashes: dict[int, bytes] = {}
        for _ in range(6):
            hashes |= grow(agent, 5, pause_s=0.02)
            time.sleep(0.05)
            times[agent.version] = datetime.now(UTC)
            time.sleep(0.05)
        assert {v: hw.at("past", v).state_hash for v in hashes} == hashes
    caught_up(hw)
    assert {v: hw.at("past", v).state_hash for v in hashes} == hashes
    assert {v: hw.at("past", when).version for v, when in times.items()} == {v: v for v in times}
    assert hw.at("past", 0).state.messages == []
    found = hw.snapshots("past", limit=100)
    for info in found:
        at = hw.at("past", info.snapshot_id)
        assert (at.version, at.state.step, at.state.status) == (
            info.version,
            info.step,
            info.status,
        )
    with pytest.raises(PointNotFound, match="newest version is 30"):
        hw.at("past", 31)
    with pytest.raises(PointNotFound, match="did not exist yet"):
        hw.at("past", datetime.now(UTC) - timedelta(days=1))
    with pytest.raises(PointNotFound):
        hw.at("past", "9-99")
    with pytest.raises(AgentNotFound):
        hw.at("nobody", 0)


def test_a_fork_shares_a_past_and_goes_its_own_way(hw: Client, compactor: Compactor) -> None:
    """Forked at a checkpoint, forked again, its parent deleted: nothing touches anything else."""
    with hw.agent("parent", session="s-p") as agent:
        grow(agent, 10)
        kept = agent.checkpoint("milestone", "a good place")
        at_checkpoint = agent.copy()
        grow(agent, 5)
    caught_up(hw)
    parent = hw.get("parent").state_hash
    child = hw.fork("parent", kept.checkpoint_id, "child", session="s-c")
    assert (child.version, child.state.messages) == (1, at_checkpoint.messages)
    with hw.agent("child", session="s-c") as agent:
        append(agent, "the child's own")
        grow(agent, 3)
    grandchild = hw.fork("child", 2, "grandchild")
    assert grandchild.state.messages == [*at_checkpoint.messages, "the child's own"]
    assert hw.get("parent").state_hash == parent
    hw.delete("parent")
    caught_up(hw)
    with hw.agent("grandchild") as agent:
        append(agent, "after the end of its parent")
    caught_up(hw)
    assert hw.get("child").state.messages[:11] == [*at_checkpoint.messages, "the child's own"]
    assert len(hw.get("grandchild").state.messages) == 12
    assert hw.at("child", 1).state.messages == at_checkpoint.messages
    assert hw.at("parent", 15).state_hash == parent
    with pytest.raises(AgentExists):
        hw.fork("parent", 3, "child")
    with pytest.raises(InvalidState, match="version 0"):
        hw.fork("child", 0, "unborn")


def test_a_restore_is_an_event_and_can_be_undone(hw: Client, compactor: Compactor) -> None:
    """By its owner in the midst of its life, and from outside; the past stays as it was."""
    with hw.agent("restored", session="s-1") as agent:
        hashes = grow(agent, 4)
        done = agent.restore(2, reason="a wrong turn")
        assert (done.version, done.before, done.changed) == (5, 4, True)
        assert agent.copy().messages == hw.at("restored", 2).state.messages
        assert hw.get("restored").state_hash == hashes[2]
        append(agent, "another turn")
        assert not agent.restore(6).changed
    assert [c.details for c in hw.checkpoints("restored")] == [
        {"restores": 2, "reason": "a wrong turn"}
    ]
    undone = hw.undo_restore("restored")
    assert (undone.target.version, hw.get("restored").state_hash) == (4, hashes[4])
    assert hw.undo_restore("restored").target.version == 6
    caught_up(hw)
    assert hw.get("restored").state.messages[-1] == "another turn"
    assert {v: hw.at("restored", v).state_hash for v in hashes} == hashes


def test_a_restore_that_changes_too_much_is_made_by_reference(
    hw: Client, compactor: Compactor, config: Config
) -> None:
    """It names the snapshots that lead there, and a session without a claim follows it."""
    with hw.agent("large", session="s-1") as agent:
        for number in range(3):
            with agent.change() as state:
                state.data[f"part-{number}"] = bytes(range(256)) * 2000
        caught_up(hw)
        with agent.change() as state:
            state.data.clear()
    expected = hw.at("large", 3).state_hash
    watcher = hw.open("large", claim=None)
    done = hw.restore("large", 3)
    assert (done.by_reference, done.size_bytes < 2000) == (True, True)
    assert hw.get("large").state_hash == expected
    with pytest.raises(headwater.Conflict), watcher.change() as draft:
        draft.step = 7
    assert len(watcher.state.data) == 3
    watcher.release()
    caught_up(hw)
    assert hw.get("large").state_hash == expected
    assert hw.get("large").tail_records == 0


def test_what_is_not_compacted_yet_can_be_forked_and_restored(headwater_kafka: Kafka) -> None:
    """Without any compactor; one that comes later, and its successor, make the same of it."""
    config = fresh_config(headwater_kafka)
    with headwater.connect(config) as hw:
        with hw.agent("fresh") as agent:
            hashes = grow(agent, 5)
        assert hw.fork("fresh", 3, "fork-1").state.messages == hw.at("fresh", 3).state.messages
        hw.fork("fork-1", 1, "fork-2")
        hw.restore("fresh", 2)
        with compacting(config):
            caught_up(hw)
        with hw.agent("fork-1") as agent:
            append(agent, "on it goes")
        hw.delete("fresh")
        with compacting(config):
            caught_up(hw)
        assert len(hw.get("fork-1").state.messages) == 4
        assert hw.get("fork-2").state.messages == hw.at("fresh", 3).state.messages
        assert {v: hw.at("fresh", v).state_hash for v in hashes} == hashes
        assert hw.at("fresh", 6).state_hash == hashes[2]
        assert hw.restore("fresh", 5).version == 8  # a deleted agent lives again
        assert hw.get("fresh").state_hash == hashes[5]
        with compacting(config):
            caught_up(hw)
        delete_events(hw)
        assert {v: hw.at("fresh", v).state_hash for v in hashes} == hashes
        assert len(hw.at("fork-1", 2).state.messages) == 4
        assert hw.at("fresh", datetime.now(UTC)).warnings == ()
        hw.fork("fresh", 4, "fork-3")
        assert hw.get("fork-3").state.messages == hw.at("fresh", 4).state.messages


def delete_events(hw: Client) -> None:
    """Take all events out of the log, as retention does once nothing needs them."""
    topic = hw.config.topic("events")
    ends = [TopicPartition(topic, number, OFFSET_END) for number in range(hw.partitions)]
    admin = clients.admin(hw.config)
    for deleted in admin.delete_records(ends).values():
        deleted.result(30)


def test_the_async_client_travels_as_well(config: Config, compactor: Compactor) -> None:
    """A thin layer: each call gives what the other client's gives."""

    async def main() -> None:
        async with headwater.connect(config) as hw:
            async with hw.agent("async", session="s-1") as agent:
                for number in range(3):
                    async with agent.change() as state:
                        state.messages.append(number)
                assert (await agent.restore(2)).version == 4
            assert (await hw.at("async", 2)).state.messages == [0, 1]
            assert not await hw.diff("async", 2, 4)
            assert (await hw.fork("async", 3, "async-fork")).state.messages == [0, 1, 2]
            assert (await hw.restore("async", 1)).changed
            assert (await hw.undo_restore("async")).version == 6
            await hw.snapshots("async")

    asyncio.run(asyncio.wait_for(main(), 60))


def invoke(config: Config, *arguments: str, code: int = Exit.OK, **options: Any) -> Any:
    """A command's JSON, if it printed any; else what it printed."""
    command = ["--bootstrap-servers", config.bootstrap_servers, "--prefix", config.prefix]
    result = CliRunner().invoke(cli, [*command, *arguments], **options)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if "--json" in arguments else result.output


def test_the_commands_travel(hw: Client, config: Config, compactor: Compactor) -> None:
    """List, show, diff, fork, restore and undo, as a person and as a program reads them."""
    with hw.agent("cli", session="s-1") as agent:
        grow(agent, 3)
        kept = agent.checkpoint("milestone")
        with agent.change() as state:
            state.status, state.data["\x1b[31m"] = "done", "\x1b[0m"
    caught_up(hw)
    listed = invoke(config, "snapshots", "cli", "--json")
    assert listed[0]["version"] == 4
    assert listed[0]["snapshot_id"] in invoke(config, "snapshots", "cli", "--limit", "1")
    assert invoke(config, "show", "cli", "--at", "v2", "--json")["state"]["step"] == 2
    assert invoke(config, "show", "cli", "--at", kept.checkpoint_id, "--field", "step") == "3\n"
    assert invoke(config, "show", "cli", "--at", "-0s", "--field", "status") == "done\n"
    assert "version 9" in invoke(config, "show", "cli", "--at", "9", code=Exit.NOT_FOUND)
    found = invoke(config, "diff", "cli", "3", "4", "--json", code=1)
    assert (found["same"], found["places"][0]["path"]) == (False, ["status"])
    text = invoke(config, "diff", "cli", "3", "4", code=1)
    assert "~ status: 'new' -> 'done'" in text
    assert "\x1b" not in text
    assert invoke(config, "diff", "cli", "3", kept.checkpoint_id, "--json")["same"]

    planned = invoke(config, "fork", "cli", "cli-fork", "--at", "2", "--dry-run", "--json")
    assert (planned["from_version"], planned["version"]) == (2, None)
    assert invoke(config, "fork", "cli", "cli-fork", "--yes", "--json")["from_version"] == 4
    assert "already" in invoke(config, "fork", "cli", "cli-fork", "--at", "2", code=Exit.FAILED)

    invoke(config, "restore", "cli", code=Exit.USAGE)
    invoke(config, "restore", "cli", "3", "--undo", code=Exit.USAGE)
    assert "no restore is known" in invoke(config, "restore", "cli", "--undo", code=Exit.NOT_FOUND)
    assert not invoke(config, "restore", "cli", "3", "--dry-run", "--json")["changed"]
    done = invoke(config, "restore", "cli", "3", "--reason", "too far", "--yes", "--json")
    assert (done["before"], done["version"], hw.get("cli").state.status) == (4, 5, "new")
    assert hw.checkpoints("cli")[0].details == {"restores": 3, "reason": "too far"}
    assert "leads back there" in invoke(config, "restore", "cli", "--undo", "--yes")
    assert hw.get("cli").state.status == "done"
