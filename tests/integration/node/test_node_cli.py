"""The commands that have nodes run agents, against a real one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from headwater import Config
from headwater.cli import cli
from headwater.cli.errors import Exit
from tests.support.place import Place

pytestmark = pytest.mark.kafka


def headwater_(config: Config, *words: str) -> Result:
    """Run a command in this process."""
    options = ["--bootstrap-servers", config.bootstrap_servers, "--prefix", config.prefix]
    return CliRunner().invoke(cli, [*options, "--profile", config.profile, *words])


def told(config: Config, *words: str) -> dict[str, dict[str, Any]]:
    """What a command's JSON says, by agent."""
    result = headwater_(config, *words, "--json")
    assert result.exit_code == Exit.OK, result.output
    return {each["agent_id"]: each for each in json.loads(result.stdout)}


def test_agents_are_started_paused_and_stopped(place: Place, config: Config) -> None:
    """From the first start to the last, with routes that follow."""
    started = told(config, "start", "c-1", "c-2", "--kind", "Async")
    assert {each["node_id"] for each in started.values()} == {"n1"}
    place.await_steps("n1", "c-1", 3)
    assert told(config, "pause", "c-1")["c-1"]["ok"]
    place.await_route("c-1", "n1", "PAUSED")
    assert told(config, "resume", "c-1")["c-1"]["ok"]
    assert told(config, "migrate", "c-2", "--to", "n1")["c-2"]["ok"]
    assert told(config, "stop", "c-1", "c-2", "--reason", "enough").keys() == {"c-1", "c-2"}
    place.await_route("c-2", "n1", "STOPPED")
    # A busy machine may have cost the node its lease meanwhile, and with it another epoch.
    assert told(config, "start", "c-1")["c-1"]["epoch"] > started["c-1"]["epoch"]
    told(config, "stop", "c-1")


def test_who_is_there_and_who_runs_what(place: Place, config: Config) -> None:
    """`nodes` tells of each node and its agents, `locate` of one agent; as tables and as JSON."""
    told(config, "start", "l-1", "--kind", "Async")
    place.await_steps("n1", "l-1", 1)
    (shown,) = json.loads(headwater_(config, "nodes", "n1", "--json").stdout)
    assert (shown["mode"], "l-1" in shown["routes"]) == ("RUNNING", True)
    assert {"l-1"} <= {each["agent_id"] for each in shown["heartbeat"]["agents"]}
    assert shown["silent_ms"] <= shown["heartbeat"]["lease_ms"]
    assert shown["heartbeat"]["resources"]["memory_bytes"] > 0
    table = headwater_(config, "nodes").stdout
    assert "n1" in table and "RUNNING" in table
    assert "l-1" in headwater_(config, "nodes", "--agents").stdout
    missing = headwater_(config, "nodes", "n1", "nobody")
    assert missing.exit_code == Exit.NOT_FOUND and "no such node: nobody" in missing.stderr
    found = json.loads(headwater_(config, "locate", "l-1", "--json").stdout)
    assert (found["node_id"], found["kind"], found["status"]) == ("n1", "Async", "RUNNING")
    assert found["address"] == shown["heartbeat"]["address"]
    assert "n1" in headwater_(config, "locate", "l-1").stdout
    assert headwater_(config, "locate", "nobody").exit_code == Exit.NOT_FOUND
    told(config, "stop", "l-1")


def test_what_cannot_be_done_is_told_by_exit_code(place: Place, config: Config) -> None:
    """An agent that nobody knows, a class that nobody runs, an agent that is not there, a node that
    does not answer, an argument that is none.
    """
    assert headwater_(config, "stop", "nobody").exit_code == Exit.NOT_FOUND
    assert headwater_(config, "start", "nobody").exit_code == Exit.NOT_FOUND
    assert headwater_(config, "start", "x", "--kind", "Nope").exit_code == Exit.FAILED
    told(config, "start", "g-1", "--kind", "Async")
    told(config, "stop", "g-1")
    gone = headwater_(config, "stop", "g-1")
    assert gone.exit_code == Exit.FAILED
    assert "not on this node" in gone.stdout
    silent = headwater_(config, "node", "command", "nobody", "pause", "--timeout", "1s")
    assert silent.exit_code == Exit.TIMEOUT
    wrong = headwater_(config, "node", "command", "n1", "pause", "--argument", "x")
    assert wrong.exit_code == Exit.USAGE


def test_any_command_can_be_sent(place: Place, config: Config) -> None:
    """With arguments in JSON, for some agents or for all; a dry run sends nothing."""
    told(config, "start", "k-1", "--kind", "Plain")
    words = ("node", "command", "n1", "throttle", "k-1", "--argument", "rate=2")
    assert headwater_(config, *words, "--dry-run").stdout == ""
    assert told(config, *words)["k-1"]["ok"]
    verified = told(config, "node", "command", "n1", "verify")
    assert len(verified["k-1"]["detail"]["state_hash"]) == 64
    refused = headwater_(config, "node", "command", "n1", "throttle", "--argument", "rate=fast")
    assert refused.exit_code == Exit.FAILED
    assert "rate must be a number" in refused.stdout


def test_nodes_that_cannot_be_run(config: Config) -> None:
    """No such module, no such address: told before anything is claimed."""
    missing = headwater_(config, "node", "run", "no_such_module:X")
    assert missing.exit_code == Exit.USAGE
    assert "cannot import" in missing.output


def test_a_node_that_drains_and_stays(place: Place, config: Config) -> None:
    """Last here: it takes no agents any more, and what nobody takes is told."""
    told(config, "start", "z-1", "--kind", "Plain")
    drained = headwater_(config, "node", "drain", "n1", "--stay", "--json")
    assert drained.exit_code == Exit.FAILED
    outcome = {each["agent_id"]: each["error"] for each in json.loads(drained.stdout)}
    assert "nobody took it" in outcome["z-1"]
    again = headwater_(config, "start", "z-1", "--node", "n1")
    assert again.exit_code == Exit.FAILED
    assert "DRAINING" in again.stdout
