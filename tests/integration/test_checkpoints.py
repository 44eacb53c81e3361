"""Checkpoints against a real broker: made by owners, by others, by policy, and in an emergency."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import headwater
from headwater import Checkpoint, CheckpointType, Client, Config
from headwater.errors import (
    AgentNotFound,
    AgentOwned,
    ChangeRejected,
    ConfigError,
    Conflict,
    PointNotFound,
    SessionClosed,
    TooLarge,
    UnsupportedValue,
)
from headwater.state.model import state_hash
from streams.snapshots.policy import CheckpointPolicy
from tests.support.clusters import Kafka, fresh_config
from tests.support.processes import environment, eventually, programs
from tests.support.sessions import append
from tests.support.stage import Stage, compacting

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

OFF = CheckpointPolicy(trigger="off")


def ids(checkpoints: list[Checkpoint]) -> list[str]:
    """Their ids, in order."""
    return [each.checkpoint_id for each in checkpoints]


def test_an_owner_keeps_moments_of_its_agent(hw: Client, other: Client) -> None:
    """Seen by others at once, newest first, each at the head and the state that it had."""
    with hw.agent("owner") as agent:
        append(agent, 1)
        first = agent.checkpoint(label="erster", metadata={"step": (1, b"\0"), "why": None})
        seen = agent.state.messages[0], state_hash("owner", agent.recovered.agent.document)
        append(agent, 2, wait=False)
        second = agent.checkpoint("milestone", level=headwater.STRONG)
        again = agent.checkpoint("milestone")
        assert agent.version == 2
    assert other.checkpoints("owner") == [again, second, first]
    assert (first.version, second.version, again.version) == (1, 2, 2)
    assert (first.type, first.label) == (CheckpointType.MANUAL, "erster")
    assert first.details == {"step": (1, b"\0"), "why": None}
    assert first.state_hash == seen[1]
    assert len({first.checkpoint_id, second.checkpoint_id, again.checkpoint_id}) == 3
    recovered = other.recover("owner")
    assert second.state_hash == recovered.state_hash
    assert (recovered.version, recovered.inapplicable) == (2, 0)


def test_what_the_compactor_writes_is_what_was_made(
    hw: Client, other: Client, config: Config
) -> None:
    """Before it ran and after, the list is the same."""
    with hw.agent("written") as agent:
        append(agent, 1)
        made = [agent.checkpoint(label=str(n), wait=False) for n in range(3)]
        agent.flush()
        append(agent, 2)
        made.append(other.checkpoint("written", "emergency", "from elsewhere"))
    before = other.checkpoints("written")
    assert before == made[::-1]
    stage = Stage(config)
    with compacting(config, policy=OFF):
        stage.await_end()
        assert other.checkpoints("written") == before
        gone = other.delete_checkpoint("written", made[1].checkpoint_id)
        assert gone == made[1]
        assert ids(other.checkpoints("written")) == ids([made[3], made[2], made[0]])
        stage.await_end()
    stage.close()
    assert ids(other.checkpoints("written")) == ids([made[3], made[2], made[0]])


def test_a_note_from_elsewhere_does_not_disturb_the_owner(hw: Client, other: Client) -> None:
    """It marks the head that it follows, whoever holds the agent, and extends no chain."""
    with hw.agent("noted") as agent:
        append(agent, 1)
        made = other.checkpoint("noted", label="busy", metadata={"by": "other"})
        append(agent, 2)
        agent.flush()
    assert (made.version, made.node_id, made.state_hash) == (1, "there", None)
    assert made.details == {"by": "other"}
    assert other.checkpoints("noted") == [made]
    assert hw.recover("noted").version == 2


def test_without_a_claim_a_checkpoint_is_a_compare_and_set(hw: Client, other: Client) -> None:
    """Admitted iff nothing came before it; the session goes on either way."""
    with hw.agent("free", claim=None) as mine, other.agent("free", claim=None) as theirs:
        with mine.change() as state:
            state.messages.append(1)
        made = mine.checkpoint("milestone")
        assert made.state_hash == hw.recover("free").state_hash
        with pytest.raises(Conflict):
            theirs.checkpoint()
        assert theirs.version == 1
        late = theirs.checkpoint(label="now")
        with mine.change(wait=True) as state, pytest.raises(Conflict):
            raise Conflict("stand-in for a block that fails")
        with pytest.raises(ChangeRejected, match="read back"):
            mine.checkpoint(wait=False)
    assert hw.checkpoints("free") == [late, made]
    with hw.agent("free"), other.agent("free", claim=None) as theirs, pytest.raises(AgentOwned):
        theirs.checkpoint()


def test_a_failed_compare_and_set_leaves_the_last_change(hw: Client, other: Client) -> None:
    """There is no draft to take back where a checkpoint loses."""
    with hw.agent("kept", claim=None) as mine, other.agent("kept", claim=None) as theirs:
        with mine.change() as state:
            state.messages.append(1)
        with pytest.raises(Conflict), theirs.change() as state:
            state.messages.append(2)
        with theirs.change() as state:
            state.messages.append(2)
        with pytest.raises(Conflict):
            mine.checkpoint()
        assert list(mine.state.messages) == [1, 2]
        assert mine.copy() == hw.recover("kept").state


def test_what_cannot_be_kept_is_refused_before_anything_is_sent(hw: Client) -> None:
    """Types, labels and metadata that no log can hold; an open change; a session that ended."""
    with hw.agent("refusing") as agent:
        append(agent, 1)
        with pytest.raises(ConfigError, match="manual"):
            agent.checkpoint("important")
        with pytest.raises(UnsupportedValue):
            agent.checkpoint(metadata={"x": object()})
        with pytest.raises(UnsupportedValue):
            agent.checkpoint(label="\ud800")
        with pytest.raises(TooLarge):
            agent.checkpoint(label="x" * 70_000)
        with agent.change() as state:
            state.step = 1
            with pytest.raises(ChangeRejected, match="open"):
                agent.checkpoint()
        append(agent, 2)
    with pytest.raises(SessionClosed):
        agent.checkpoint()
    assert hw.checkpoints("refusing") == []
    with pytest.raises(AgentNotFound):
        hw.checkpoint("nobody")
    with pytest.raises(AgentNotFound):
        hw.checkpoints("nobody")
    with pytest.raises(PointNotFound):
        hw.delete_checkpoint("refusing", "manual-1")


def test_async_sessions_and_connections_do_the_same(hw: Client, config: Config) -> None:
    """Each call has its counterpart."""

    async def work() -> tuple[Any, ...]:
        async with headwater.connect(config.with_(node_id="loop")) as client:
            async with client.agent("looped") as agent:
                async with agent.change() as state:
                    state.step = 1
                first = await agent.checkpoint(label="a")
                second = await agent.checkpoint("milestone", wait=False)
                await agent.flush()
                third = await client.checkpoint("looped", label="c")
                made = await client.emergency("a drill")
            gone = await client.delete_checkpoint("looped", second.checkpoint_id)
            return first, third, made, gone == second, await client.checkpoints("looped")

    first, third, made, deleted, listed = asyncio.run(work())
    assert deleted
    assert ids(listed) == [made[0].checkpoint_id, third.checkpoint_id, first.checkpoint_id]
    assert listed[1:] == [third, first]


def test_an_emergency_keeps_every_open_agent(hw: Client, other: Client) -> None:
    """Whatever each session is doing; what it has sent is in it, what it has not is not."""
    with hw.agent("e-1") as one, hw.agent("e-2") as two, hw.agent("e-3", claim=None):
        append(one, 1, wait=False)
        append(two, 1)
        with two.change() as state:
            state.messages.append("unsent")
            made = hw.emergency("power is going")
        with hw.agent("e-4"):
            pass
    assert [(each.agent_id, each.error) for each in made] == [("e-1", None), ("e-2", None)]
    for agent_id in ("e-1", "e-2"):
        (found,) = other.checkpoints(agent_id)
        assert (found.type, found.label, found.version) == ("emergency", "power is going", 1)


def test_a_stalled_emergency_ends_in_time_and_says_so(config: Config) -> None:
    """Notes that the brokers did not acknowledge are failures, not waited for longer."""
    with headwater.connect(config.with_(node_id="stalled")) as client:
        with client.agent("stalled") as agent:
            append(agent, 1)
            (made,) = client.emergency("now", within=timedelta(microseconds=1))
        assert made.error is not None
        assert "acknowledged" in str(made.error)


SIGNALLED = """
import json, signal, sys, time
import headwater
from headwater import checkpoint_on_signals
chain = sys.argv[1] == "chain"
if chain:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
with headwater.connect() as hw:
    agent = hw.open("signalled")
    with checkpoint_on_signals(hw):
        n = 0
        while True:
            n += 1
            with agent.change(wait=n % 10 == 0) as state:
                state.step = n
            print(n, flush=True)
            time.sleep(0.005 if n < 50 else 60)
"""


@pytest.mark.fault
@pytest.mark.parametrize(("how", "code"), [("default", -15), ("chain", 7)])
def test_a_process_that_is_told_to_stop_checkpoints_first(
    hw: Client, config: Config, tmp_path: Path, how: str, code: int
) -> None:
    """SIGTERM in the midst of work, the main thread asleep: a checkpoint, and then what the signal
    would have done.
    """
    import subprocess

    script = tmp_path / "worker.py"
    script.write_text(SIGNALLED)
    with subprocess.Popen(
        [sys.executable, str(script), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(config, HEADWATER_NODE_ID=f"signalled-{how}"),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == b"50":
                break
        process.terminate()
        said = process.stdout.read()
        assert process.wait(20) == code, said
    found = hw.checkpoints("signalled")[0]
    assert (found.type, found.label) == ("emergency", "SIGTERM received")
    assert found.version == hw.recover("signalled").version


@pytest.mark.fault
def test_a_hung_agent_gets_its_automatic_checkpoint_once(
    config: Config, other: Client, tmp_path: Path
) -> None:
    """It changes once and then does nothing, not even beat: the compactor keeps its moment, and
    its successor, which takes over, does not keep it again.
    """
    fresh = config.with_(prefix=f"{config.prefix}hung.")
    policy = CheckpointPolicy(interval=timedelta(seconds=1))
    with headwater.connect(fresh) as client:
        frozen = client.open("hung")
        with frozen.change() as state:
            state.step = 3
        with compacting(fresh, policy=policy):
            eventually(lambda: client.checkpoints("hung") != [], 30, "a checkpoint", step_s=0.1)
        (made,) = client.checkpoints("hung")
        assert (made.type, made.version) == ("automatic", 1)
        with compacting(fresh, policy=policy) as successor:
            with client.agent("other") as agent:
                append(agent, 1)
            eventually(lambda: client.checkpoints("other") != [], 30, "another's", step_s=0.1)
            assert client.checkpoints("hung") == [made]
            with frozen.change() as state:
                state.step = 4
            eventually(lambda: len(client.checkpoints("hung")) == 2, 30, "its next", step_s=0.1)
            assert successor.stats().counts.checkpoints >= 2
        frozen.release()


@pytest.mark.fault
@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
def test_a_compactor_that_is_killed_keeps_each_checkpoint_once(
    headwater_kafka: Kafka, tmp_path: Path, point: str
) -> None:
    """Asked for by owner and note, and by policy: its successor finishes what it had begun, and
    makes nothing twice.
    """
    config = fresh_config(headwater_kafka, partitions=1)
    stage = Stage(config)
    policy = {"HEADWATER_CHECKPOINT_TRIGGER": "step", "HEADWATER_CHECKPOINT_STEPS": "2"}
    with headwater.connect(config) as client, programs(config, tmp_path) as started:
        with client.agent("killed") as agent:
            for step in range(1, 5):
                with agent.change() as state:
                    state.step = step
                agent.checkpoint(label=str(step))
            client.checkpoint("killed", label="noted")
        before = client.checkpoints("killed")
        first = started.compactor("first", HEADWATER_CRASH_AT=f"compactor.{point}:1", **policy)
        first.await_crash()
        started.compactor("second", **policy)
        stage.await_end()
        after = client.checkpoints("killed")
        written = [message.key() for message in stage.read("checkpoints")]
    stage.close()
    assert len(before) == 5
    assert [each for each in after if each in before] == before
    assert sorted(ids(after)) == sorted([*ids(before), "milestone-2", "milestone-4"])
    assert len(written) == len(set(written)) == 7
