"""The strategies with real nodes and real agents: what they ask for is what nodes do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import headwater
from consumers.strategies.app import built_in
from headwater import Client, Config
from headwater.fleet.control import Control
from headwater.fleet.pulse import Pulse
from headwater.fleet.records import (
    AgentReport,
    CommandKind,
    FailureType,
    NodeMode,
    RecoveryStatus,
)
from headwater.topics import connect_fleet
from tests.support import hosted
from tests.support.clusters import Kafka, fresh_config
from tests.support.healing import Detector, failure, healing
from tests.support.processes import Program, Programs, eventually, programs

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

AGENTS = [f"agent-{n}" for n in range(6)]
PATIENCE_S = 40.0


class Fleet:
    """Two nodes, with agents that work on the first, and a handler of failures."""

    def __init__(self, config: Config, started: Programs, hw: Client) -> None:
        self.config, self.hw = config, hw
        self.pulse = Pulse(config)
        self.detector = Detector(config)
        self.nodes = {name: self._node(started, name) for name in ("n-1", "n-2")}
        eventually(lambda: len(self.living()) == 2, PATIENCE_S, "both nodes beat")
        self._start(AGENTS)
        self.await_work(*AGENTS)

    def _start(self, agents: list[str]) -> None:
        control, left = Control(self.config, "test"), set(agents)

        def started() -> bool:
            command = control.command("n-1", CommandKind.START, [(a, "Steady") for a in left])
            control.send(command)
            for reply in control.wait([command], PATIENCE_S)[command.command_id]:
                left.difference_update(r.agent_id for r in reply.results if r.ok)
            return not left

        eventually(started, PATIENCE_S, "the agents are started")
        control.close()

    def _node(self, started: Programs, name: str) -> Program:
        data = started.directory / f"{name}.data"
        words = ["-v", "node", "run", *hosted.KINDS, "--node-id", name, "--data-dir", str(data)]
        return started.start(name, "headwater", words, **{hosted.DIRECTORY: str(started.directory)})

    def living(self) -> list[str]:
        """The nodes that beat as nodes."""
        self.pulse.read(0.05)
        return [n for n, life in self.pulse.lives.items() if life.mode is NodeMode.RUNNING]

    def report_of(self, agent: str) -> tuple[str, AgentReport]:
        """The node that has an agent in its latest epoch, and what it says of it."""
        found: list[tuple[str, AgentReport]] = []

        def told() -> bool:
            self.pulse.read(0.02)
            found[:] = [
                (node_id, life.agents[agent])
                for node_id, life in self.pulse.lives.items()
                if agent in life.agents
            ]
            return bool(found)

        eventually(told, PATIENCE_S, f"a node has {agent}")
        return max(found, key=lambda each: each[1].epoch)

    def held(self, node_id: str) -> list[str]:
        """The agents that a node has."""
        return [agent for agent in AGENTS if self.report_of(agent)[0] == node_id]

    def await_work(self, *agents: str) -> None:
        """Wait until each of these has changed its state once more."""
        before = {agent: self.hw.get(agent).version for agent in agents}
        for agent in agents:
            eventually(
                lambda agent=agent: self.hw.get(agent).version > before[agent],  # type: ignore[misc]
                PATIENCE_S,
                f"{agent} works",
                0.1,
            )


@pytest.fixture(scope="module")
def fleet(headwater_kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet that the module's tests share."""
    config = fresh_config(headwater_kafka, partitions=2)
    connect_fleet(config)
    directory: Path = tmp_path_factory.mktemp("nodes")
    with (
        programs(config, directory) as started,
        headwater.connect(config.with_(node_id="looker")) as hw,
        healing(config.with_(node_id="healer"), *built_in()),
    ):
        yield Fleet(config, started, hw)


def test_an_agent_whose_step_hangs_is_restarted_where_it_is(fleet: Fleet) -> None:
    """Its owner is asked, and it goes on from its last state, in the next epoch."""
    agent = AGENTS[0]
    before = fleet.report_of(agent)
    late = failure(
        FailureType.TIMEOUT, f"agent:{agent}", epoch=before[1].epoch, step=10**9, version=10**9
    )
    fleet.detector.report(late)
    result = fleet.detector.ended(late, PATIENCE_S)
    assert result.status is RecoveryStatus.SUCCEEDED, result
    assert "goes on, on n-1" in result.message
    fleet.await_work(agent)

    def restarted() -> bool:
        place, report = fleet.report_of(agent)
        return place == before[0] and report.epoch > before[1].epoch

    eventually(restarted, PATIENCE_S, "its node says so")


def test_one_that_hangs_again_and_again_goes_to_the_other_node(fleet: Fleet) -> None:
    """Its owner gives it up; nobody overrules anybody."""
    agent = AGENTS[1]
    before = fleet.report_of(agent)
    assert before[0] == "n-1"
    late = failure(
        FailureType.TIMEOUT,
        f"agent:{agent}",
        subject="restarts",
        epoch=before[1].epoch,
        step=10**9,
        version=10**9,
    )
    fleet.detector.report(late)
    result = fleet.detector.ended(late, PATIENCE_S)
    assert result.status is RecoveryStatus.SUCCEEDED, result
    assert [item.node_id for item in result.items] == ["n-2"]
    fleet.await_work(agent)
    eventually(lambda: fleet.report_of(agent)[0] == "n-2", PATIENCE_S, "the other node says so")


def test_a_running_agent_is_put_back_and_goes_on(fleet: Fleet) -> None:
    """Stopped, restored to before the bad version, started."""
    agent = AGENTS[2]
    version = fleet.hw.get(agent).version
    bad = failure(
        FailureType.STATE_CORRUPTION, f"agent:{agent}", check="transitions", version=version
    )
    fleet.detector.report(bad)
    result = fleet.detector.ended(bad, PATIENCE_S)
    assert result.status is RecoveryStatus.SUCCEEDED, result
    assert result.metrics["version"] == version - 1
    fleet.await_work(agent)


def test_a_running_agent_is_rebuilt_and_its_owner_proves_it(fleet: Fleet) -> None:
    """The owner's own word is held against the log."""
    agent = AGENTS[3]
    bad = failure(FailureType.DATA_INCONSISTENCY, f"agent:{agent}")
    fleet.detector.report(bad)
    result = fleet.detector.ended(bad, PATIENCE_S)
    assert result.status is RecoveryStatus.SUCCEEDED, result
    assert "1.verify" in [step.name for step in result.steps]
    fleet.await_work(agent)


def test_a_minority_changes_nothing_until_its_links_are_back(fleet: Fleet) -> None:
    """Then all of its agents are compared with the log, and go on."""
    cut = failure(FailureType.NETWORK_PARTITION, "partition:n-1")
    fleet.detector.report(cut)

    def frozen() -> bool:
        fleet.pulse.read(0.02)
        return fleet.pulse.lives["n-1"].mode is NodeMode.READ_ONLY

    eventually(frozen, PATIENCE_S, "the minority is frozen")
    held = fleet.held("n-1")
    before = {agent: fleet.hw.get(agent).version for agent in held}
    fleet.await_work(AGENTS[1])
    assert {agent: fleet.hw.get(agent).version for agent in held} == before
    fleet.detector.clears(cut)
    result = fleet.detector.ended(cut, PATIENCE_S)
    assert result.status is RecoveryStatus.SUCCEEDED, result
    assert {item.agent_id for item in result.items if item.ok} == set(held)
    fleet.await_work(*held)


def test_the_agents_of_a_killed_node_go_on_elsewhere(fleet: Fleet) -> None:
    """From their last acknowledged changes."""
    life = fleet.pulse.lives["n-1"]
    held = set(fleet.held("n-1"))
    assert len(held) >= 3
    fleet.nodes["n-1"].kill()
    dead = failure(FailureType.NODE_FAILURE, "node:n-1", incarnation=life.incarnation.hex())
    fleet.detector.report(dead)
    result = fleet.detector.ended(dead, PATIENCE_S)
    assert result.status is RecoveryStatus.SUCCEEDED, result
    assert {item.agent_id: item.node_id for item in result.items} == dict.fromkeys(held, "n-2")
    fleet.await_work(*AGENTS)
