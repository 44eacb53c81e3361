"""Drills for real: on shadows and on a node, against detectors and strategies that run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

import headwater
from headwater import Client, Config
from headwater.cli import cli
from headwater.cli.errors import Exit
from headwater.drill.shadow import FIELD, is_shadow
from headwater.fleet.control import Control
from headwater.fleet.records import CommandKind
from headwater.fleet.routes import Routes
from headwater.topics import connect_fleet
from tests.support import hosted
from tests.support.clusters import Kafka, fresh_config
from tests.support.processes import Programs, eventually, programs

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

AGENTS = ("alpha", "beta", "gamma")


@pytest.fixture(scope="module")
def config(headwater_kafka: Kafka) -> Config:
    """Settings of this module's own topics."""
    made = fresh_config(headwater_kafka, profile="default")
    connect_fleet(made)
    return made


@pytest.fixture(scope="module")
def started(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """A compactor, a detector and two handlers."""
    with programs(config, tmp_path_factory.mktemp("drills")) as started:
        started.compactor()
        started.start("detector", "headwater", ["-v", "detect"])
        started.start("healer-1", "headwater", ["-v", "heal"])
        started.start("healer-2", "headwater", ["-v", "heal"])
        yield started


@pytest.fixture(scope="module")
def hw(config: Config, started: Programs) -> Iterator[Client]:
    """A connection, and some agents with a past."""
    with headwater.connect(config) as client:
        for name in AGENTS:
            with client.agent(name) as agent:
                for number in range(5):
                    with agent.change() as state:
                        state.data["number"] = number
                        state.status = "working"
        yield client


def drill(config: Config, *words: str) -> Result:
    """Run the command."""
    address = ["--bootstrap-servers", config.bootstrap_servers, "--prefix", config.prefix]
    return CliRunner().invoke(cli, [*address, "--profile", config.profile, "drill", *words])


def shown(result: Result) -> Any:
    """What it printed as JSON."""
    assert result.stdout, result.stderr
    return json.loads(result.stdout)


def check_untouched(hw: Client) -> None:
    """The agents are as they were, and of the shadows nothing is left."""
    for name in AGENTS:
        found = hw.recover(name)
        assert found.version == 5
        assert FIELD not in found.state.data
    routes = Routes(hw.config)
    routes.wait()
    assert not [r for r in routes.all() if is_shadow(r.agent_id)]
    routes.close()
    assert not [name for name in hw.agents() if is_shadow(name)]


def check_passed(report: Any, kind: str) -> None:
    """Everything was measured, and nothing lost."""
    assert report["passed"], report
    assert report["kind"] == kind
    assert report["agents"] == len(AGENTS)
    assert report["lost"] == report["doubled"] == 0
    assert report["changes"] >= 3 * len(AGENTS)
    assert report["detected_ms"] > 0
    assert report["recovered_ms"] > 0


def test_a_node_failure_on_shadows(hw: Client, config: Config) -> None:
    """Shadows go on elsewhere, the agents themselves are left alone, and the result is kept."""
    result = drill(config, "node-failure", "--shadow", "--reason", "every Monday", "--json")
    assert result.exit_code == Exit.OK, result.output
    report = shown(result)
    check_passed(report, "node-failure")
    assert report["detected_ms"] < report["recovered_ms"]
    check_untouched(hw)
    assert shown(drill(config, "history", "--json"))[-1] == report
    assert "passed" in drill(config, "history").stdout


@pytest.mark.long
def test_a_missed_target_is_an_exit_code(hw: Client, config: Config) -> None:
    """A drill that was slower than it may be exits with 1, says so, and is kept as missed."""
    result = drill(config, "node-failure", "--shadow", "--agents", "1", "--detect-within", "1ms")
    assert result.exit_code == Exit.FAILED
    assert "missed: detection took" in result.stderr
    assert shown(drill(config, "history", "--json"))[-1]["passed"] is False


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "kind", ["partition", "handler-crash", "corruption", "disk-full", "slow-node"]
)
def test_other_drills_on_shadows(hw: Client, config: Config, kind: str) -> None:
    """Each is detected as what it is, and put right."""
    result = drill(config, kind, "--shadow", "--json")
    check_passed(shown(result), kind)
    assert result.exit_code == Exit.OK
    check_untouched(hw)


def test_a_real_node(hw: Client, config: Config, started: Programs) -> None:
    """A node of this machine is killed after asking, and its agents go on on another one."""
    directory = started.directory
    for name in ("one", "two"):
        words = ["node", "run", *hosted.KINDS, "--data-dir", str(directory / f"{name}.data")]
        started.start(name, "headwater", words, **{hosted.DIRECTORY: str(directory)})
    control = Control(config, "test")
    command = control.command(
        "one", CommandKind.START, [("real-1", "Steady"), ("real-2", "Sturdy")]
    )
    control.send(command)
    replies = control.wait([command], 60)[command.command_id]
    control.close()
    assert all(r.ok for reply in replies for r in reply.results) and replies
    eventually(lambda: hw.recover("real-1").version > 3, 30, "the agents work")

    asked = drill(config, "node-failure", "--node", "one")
    assert asked.exit_code == Exit.USAGE
    assert "say --yes" in asked.output
    report = shown(drill(config, "node-failure", "--node", "one", "--yes", "--json"))
    assert report["passed"], report
    assert (report["shadow"], report["node_id"], report["agents"]) == (False, "one", 2)
    assert report["lost"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["partition"], "say where to hold it: --shadow"),
        (["node-failure"], "--shadow, or --node NODE"),
        (["node-failure", "--shadow", "--node", "x"], "--shadow, or --node NODE"),
        (["node-failure", "--node", "x", "--schedule", "1h"], "--schedule is for shadows"),
    ],
)
def test_what_makes_no_sense_is_said(config: Config, words: list[str], said: str) -> None:
    """Nothing is done where it is not clear to what."""
    result = drill(config, *words)
    assert result.exit_code == Exit.USAGE
    assert said in result.stderr


def test_a_node_that_is_not_there(hw: Client, config: Config) -> None:
    """A drill that cannot be held says so, and is no missed drill."""
    before = shown(drill(config, "history", "--json"))
    result = drill(config, "node-failure", "--node", "nobody", "--yes")
    assert result.exit_code == Exit.FAILED
    assert "node nobody is not heard of" in result.stderr
    assert shown(drill(config, "history", "--json")) == before


def test_no_agent_to_copy(headwater_kafka: Kafka) -> None:
    """An empty cluster has nothing to rehearse on."""
    empty = fresh_config(headwater_kafka)
    connect_fleet(empty)
    result = drill(empty, "node-failure", "--shadow")
    assert result.exit_code == Exit.FAILED
    assert "there is no agent to make a shadow of" in result.stderr
