"""The strategies for what is not a dead node: states are real, nodes follow a script."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import headwater
from consumers.strategies.corruption import Corruption
from consumers.strategies.cut import Partition
from consumers.strategies.degradation import Degradation
from consumers.strategies.exhaustion import Exhaustion
from consumers.strategies.inconsistency import Inconsistency
from consumers.strategies.run import Patience
from consumers.strategies.timeout import Timeout
from headwater import Client, Config
from headwater.fleet.audit import read_audit
from headwater.fleet.records import (
    Command,
    CommandKind,
    FailureEvent,
    FailureType,
    NodeMode,
    RecoveryStatus,
)
from headwater.topics import connect_fleet
from tests.support.clusters import Kafka, fresh_config
from tests.support.damage import delete_events, flipped, spoil_snapshots
from tests.support.healing import Detector, failure, healing
from tests.support.processes import eventually, programs
from tests.support.scripted import RESOURCES, ScriptedNode, scripted
from tests.support.stage import Stage, compacting

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

QUICK = Patience(attempts=2, first_s=0.05)


@pytest.fixture(scope="module")
def config(headwater_kafka: Kafka) -> Config:
    """Topics that the module's tests share; each has nodes and kinds of its own."""
    # A lease of 3 s: a busy machine must not make nodes look dead that are not.
    made = fresh_config(headwater_kafka, partitions=1, profile="default")
    connect_fleet(made)
    return made


@pytest.fixture(scope="module")
def hw(config: Config) -> Iterator[Client]:
    """Whoever makes the agents."""
    with headwater.connect(config.with_(node_id="maker")) as client:
        yield client


@pytest.fixture
def detector(config: Config) -> Iterator[Detector]:
    """Somebody who reports failures."""
    made = Detector(config)
    yield made
    made.close()


def make(hw: Client, name: str, *statuses: str) -> None:
    """An agent with a change for each status."""
    with hw.agent(name, session="s-1") as agent:
        for status in statuses:
            with agent.change() as state:
                state.status = status
                state.messages.append(status)


def actions(config: Config, reported: FailureEvent) -> list[str]:
    """What the audit tells of a failure."""
    return [r.action for r in read_audit(config) if r.failure_id == reported.failure_id]


def told(node: ScriptedNode) -> list[str]:
    """The kinds of commands that a node obeyed."""
    return [command.kind.value for command in node.obeyed]


def test_a_status_that_must_not_follow_is_taken_back(
    config: Config, hw: Client, detector: Detector
) -> None:
    """The agent is stopped, put back to before that, and started; what came after is kept."""
    make(hw, "strayed", "planned", "working", "planned", "working")
    with (
        scripted(config, "s-a", kinds=("Strayed",)) as (a,),
        healing(config, Corruption(), patience=QUICK),
    ):
        a.has_many(["strayed"], kind="Strayed")
        bad = failure(FailureType.STATE_CORRUPTION, "agent:strayed", check="transitions", version=3)
        detector.report(bad)
        result = detector.ended(bad)
        assert result.status is RecoveryStatus.SUCCEEDED, result
        assert told(a) == ["STOP", "START"]
        state = hw.recover("strayed").state
        assert (state.status, state.messages) == ("working", ["planned", "working"])
        kept = hw.at("strayed", hw.before_restore("strayed").checkpoint_id).state
        assert kept.messages == ["planned", "working", "planned", "working"]


def test_a_state_that_nothing_proves_begins_anew_with_a_warning(
    config: Config, hw: Client, detector: Detector
) -> None:
    """With its snapshots spoiled and its events deleted, nothing is left; that is not hidden."""
    stage = Stage(config)
    with compacting(config):
        make(hw, "ruined", "planned", "working")
        stage.await_end()
    keys = {m.key() or b"" for m in stage.read("snapshots")}
    spoil_snapshots(config, 0, [k for k in keys if k.startswith(b"ruined\0")], flipped)
    delete_events(config, 0, stage.end(0))
    with healing(config, Corruption(), patience=QUICK):
        bad = failure(FailureType.STATE_CORRUPTION, "agent:ruined", check="snapshots")
        detector.report(bad)
        result = detector.ended(bad, 60)
        assert result.status is RecoveryStatus.SUCCEEDED, result
        assert result.metrics["versions_lost"] == 2
        assert "begins anew" in result.message
        assert "state.lost" in actions(config, bad)
    assert hw.recover("ruined").state.messages == []
    stage.close()


@pytest.mark.parametrize("owner_knows", [True, False])
def test_a_state_unlike_the_logs_is_rebuilt_and_proved(
    config: Config, hw: Client, detector: Detector, owner_knows: bool
) -> None:
    """Frozen, rebuilt, started, proved; where the owner still differs, a person is told."""
    name = f"unlike-{owner_knows}".lower()
    make(hw, name, "planned", "working")
    right = hw.recover(name)
    with (
        scripted(config, f"u-{name}", kinds=(name,)) as (a,),
        healing(config, Inconsistency(), patience=QUICK),
    ):
        a.has_many([name], kind=name)
        digest = right.state_hash.hex() if owner_knows else "00" * 32
        a.verified[name] = (right.version, digest)
        bad = failure(FailureType.DATA_INCONSISTENCY, f"agent:{name}")
        detector.report(bad)
        result = detector.ended(bad)
        assert told(a)[:4] == ["READ_ONLY", "STOP", "START", "VERIFY"]
        wanted = RecoveryStatus.SUCCEEDED if owner_knows else RecoveryStatus.ESCALATED
        assert result.status is wanted, result
    again = hw.recover(name)
    assert again.state_hash == right.state_hash and again.version > right.version


def test_a_minority_is_frozen_reconciled_and_thawed(
    config: Config, hw: Client, detector: Detector
) -> None:
    """What a node of it has is held to the log once it is back; what differs is made anew."""
    for name in ("cut-1", "cut-2"):
        make(hw, name, "planned", "working")
    with (
        scripted(config, "p-a", "p-b", kinds=("Cut",)) as (a, b),
        healing(config, Partition(patience_s=0.5), patience=QUICK),
    ):
        a.has_many(["cut-1", "cut-2"], kind="Cut")
        for name in ("cut-1", "cut-2"):
            found = hw.recover(name)
            a.verified[name] = (found.version, found.state_hash.hex())
        a.verified["cut-2"] = (1, "00" * 32)
        cut = failure(FailureType.NETWORK_PARTITION, "partition:p-a")
        detector.report(cut)
        eventually(lambda: a.mode is NodeMode.READ_ONLY, 10, "the minority is frozen")
        eventually(lambda: "escalated" in actions(config, cut), 10, "a person is told")
        assert detector.status(cut.failure_id) is RecoveryStatus.RUNNING
        detector.clears(cut)
        result = detector.ended(cut)
        assert result.status is RecoveryStatus.SUCCEEDED, result
        assert told(a) == ["READ_ONLY", "VERIFY", "RESTART", "READ_WRITE"]
        assert [c.agent_id for c in a.obeyed[2].agents] == ["cut-2"]
        assert a.mode is NodeMode.RUNNING and not b.obeyed
        assert "escalation.closed" in actions(config, cut)


def test_a_node_that_runs_out_of_memory_sheds_its_heaviest_agents(
    config: Config, detector: Detector
) -> None:
    """Some of them, until it is well; meanwhile nobody gives it any."""
    with (
        scripted(config, "x-a", "x-b", kinds=("Heavy",)) as (a, b),
        healing(config, Exhaustion(), patience=QUICK),
    ):
        a.has_many([f"heavy-{n}" for n in range(6)], kind="Heavy")
        a.agents["heavy-4"] = msgspec.structs.replace(a.agents["heavy-4"], size_bytes=50 << 20)
        full = msgspec.structs.replace(RESOURCES, memory_bytes=950 << 20)
        a.resources = full

        def relieved(node: ScriptedNode, command: Command, agent: str) -> str:
            if command.kind is CommandKind.MIGRATE:
                node.resources = RESOURCES
            return ""

        a.script = relieved
        time.sleep(1.3)
        short = failure(
            FailureType.RESOURCE_EXHAUSTION,
            "node:x-a",
            node_id="x-a",
            resource="memory",
            share=0.93,
        )
        detector.report(short)
        result = detector.ended(short)
        assert result.status is RecoveryStatus.SUCCEEDED, result
        (moved,) = a.obeyed
        assert moved.arguments["target"] == "x-b"
        assert [each.agent_id for each in moved.agents] == ["heavy-4"]
        assert not b.obeyed


def test_a_node_that_will_soon_be_full_sheds_before_it_is(
    config: Config, detector: Detector
) -> None:
    """Its pace is what counts, and the detector says when that is over."""
    with (
        scripted(config, "y-a", "y-b", kinds=("Growing",)) as (a, _),
        healing(config, Exhaustion(check_s=1.0), patience=QUICK),
    ):
        a.has_many([f"growing-{n}" for n in range(6)], kind="Growing")
        soon = failure(
            FailureType.RESOURCE_EXHAUSTION,
            "node:y-a",
            node_id="y-a",
            resource="memory",
            share=0.1,
            full_in_s=40.0,
        )
        detector.report(soon)
        eventually(lambda: told(a)[:1] == ["MIGRATE"], 20, "agents move away")
        detector.clears(soon)
        result = detector.ended(soon)
        assert result.status is RecoveryStatus.SUCCEEDED, result


def test_a_damaged_snapshot_is_replaced_where_the_log_proves_the_state(
    config: Config, hw: Client, detector: Detector
) -> None:
    """The agent loses nothing, and what is stored depends on nothing that came before."""
    make(hw, "scratched", "planned", "working")
    before = hw.recover("scratched")
    with healing(config, Corruption(), patience=QUICK):
        bad = failure(FailureType.STATE_CORRUPTION, "agent:scratched", check="snapshots")
        detector.report(bad)
        result = detector.ended(bad)
        assert result.status is RecoveryStatus.SUCCEEDED, result
        assert result.metrics["versions_lost"] == 0
    after = hw.recover("scratched")
    assert after.state_hash == before.state_hash and after.version > before.version


def test_the_cause_of_slowness_is_found_and_acted_on_until_it_is_over(
    config: Config, detector: Detector
) -> None:
    """A node without a core to spare gives agents away; the detector's word is the check."""
    with (
        scripted(config, "d-a", "d-b", kinds=("Slow",)) as (a, _),
        healing(config, Degradation(check_s=1.0), patience=QUICK),
    ):
        a.resources = msgspec.structs.replace(RESOURCES, cpu=2.0)
        a.has_many([f"slow-{n}" for n in range(6)], kind="Slow")
        slow = failure(FailureType.PERFORMANCE_DEGRADATION, "node:d-a", figure="step_ms:Slow")
        detector.report(slow)
        # Moving some is not enough; the nodes are slowed down next, and that is.
        eventually(lambda: "THROTTLE" in told(a), 20, "the second action")
        detector.clears(slow)
        result = detector.ended(slow)
        assert result.status is RecoveryStatus.SUCCEEDED, result
        assert "OVERLOADED_NODE" in result.message
        assert told(a) == ["MIGRATE", "THROTTLE", "THROTTLE"]
        assert [c.arguments.get("rate") for c in a.obeyed[1:]] == [5.0, 0.0]
        assert len(a.obeyed[0].agents) == 2


def test_an_owner_is_asked_to_restart_an_agent_whose_step_hangs(
    config: Config, detector: Detector
) -> None:
    """Once it completes a step, that was enough."""
    with (
        scripted(config, "t-a", "t-b", kinds=("Hung",)) as (a, b),
        healing(config, Timeout(), patience=QUICK),
    ):
        a.has_many(["hung"], kind="Hung")
        a.steps["hung"] = 1
        late = failure(FailureType.TIMEOUT, "agent:hung", epoch=1, step=1, version=1)
        detector.report(late)
        result = detector.ended(late)
        assert result.status is RecoveryStatus.SUCCEEDED, result
        assert told(a) == ["RESTART"] and not b.obeyed


def test_an_agent_that_hangs_again_goes_to_another_node(config: Config, detector: Detector) -> None:
    """An owner for which restarting does not help is passed over."""
    with (
        scripted(config, "v-a", "v-b", kinds=("Stuck",)) as (a, b),
        healing(config, Timeout(), patience=QUICK),
    ):
        a.has_many(["stuck"], kind="Stuck")
        b.steps["stuck"] = 1
        late = failure(
            FailureType.TIMEOUT, "agent:stuck", subject="restarts", epoch=1, step=1, version=1
        )
        detector.report(late)
        result = detector.ended(late)
        assert result.status is RecoveryStatus.SUCCEEDED, result
        assert told(a) == ["STOP"] and told(b) == ["START"]
        assert result.items[0].node_id == "v-b"


@pytest.mark.fault
@pytest.mark.parametrize("crash", ["step_taken:1", "step_begun:2", "step_taken:2", "step_taken:3"])
def test_a_state_is_put_back_once_wherever_its_handler_is_killed(
    config: Config, hw: Client, detector: Detector, tmp_path: Path, crash: str
) -> None:
    """Whether it was stopped, restored or started by then: another one does the rest."""
    name = "killed-" + crash.replace(":", "-")
    make(hw, name, "planned", "working", "planned")
    with (
        scripted(config, f"k-{name}", kinds=(name,)) as (a,),
        programs(config, tmp_path) as started,
    ):
        env = {"HEADWATER_CRASH_AT": f"strategy.{crash}"}
        first = started.start("first", "consumers.strategies", [], **env)
        eventually(lambda: "assigned" in first.tail(), 60, "the first handler has partitions")
        a.has_many([name], kind=name)
        bad = failure(FailureType.STATE_CORRUPTION, f"agent:{name}", check="transitions", version=3)
        detector.report(bad)
        first.await_crash()
        with healing(config.with_(node_id="second"), Corruption()):
            result = detector.ended(bad)
    assert result.status is RecoveryStatus.SUCCEEDED, result
    assert told(a) == ["STOP", "START"]
    found = hw.recover(name)
    assert found.state.messages == ["planned", "working"]
    assert found.version == 4  # three changes, and one restore
