"""``headwater checkpoint`` against a real Kafka."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import headwater
from headwater import Client, Config
from headwater.cli import cli
from headwater.cli.errors import Exit
from headwater.errors import AgentExists, CorruptData
from headwater.fleet.audit import read_audit
from tests.support.clusters import Kafka, fresh_config
from tests.support.sessions import append

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Commands set the levels of loggers; other tests get them back as they were."""
    names = ("headwater", "headwater.kafka", "headwater.recovery")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def run(config: Config, *arguments: str, code: int = 0, stdin: str | None = None) -> Result:
    """A command's result; its exit code must be ``code``."""
    options = ["--bootstrap-servers", config.bootstrap_servers, "--prefix", config.prefix]
    result = CliRunner().invoke(cli, [*options, *arguments], input=stdin)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def run_json(config: Config, *arguments: str, code: int = 0) -> Any:
    """What a command prints with --json."""
    return json.loads(run(config, *arguments, "--json", code=code).stdout)


def test_a_checkpoints_life(hw: Client, config: Config) -> None:
    """Created, listed, shown with its proof, and given up: asked for first, with its reason."""
    with hw.agent("life") as agent:
        append(agent, 1)
        assert run_json(config, "checkpoint", "list", "life") == []
        made = run(config, "checkpoint", "create", "life", "--label", "Früh").stdout.strip()
        append(agent, 2)
        milestone = run_json(
            config, "checkpoint", "create", "life", "--type", "milestone", "--metadata", '{"n": 1}'
        )
    listed = run_json(config, "checkpoint", "list", "life")
    assert listed[0] == milestone
    assert [(c["checkpoint_id"], c["type"], c["version"]) for c in listed] == [
        (milestone["checkpoint_id"], "milestone", 2),
        (made, "manual", 1),
    ]
    assert listed[0]["metadata"] == {"n": 1}
    shown = run_json(config, "checkpoint", "show", "life", made)
    assert shown["state"] == hw.at("life", 1).state_hash.hex()
    assert (shown["error"], shown["held"], shown["label"]) == (None, None, "Früh")
    assert shown["state"] in run(config, "checkpoint", "show", "life", made).stdout
    assert "Früh" in run(config, "checkpoint", "list", "life").stdout
    delete = ("checkpoint", "delete", "life", made)
    assert "would give up manual" in run(config, *delete, "--dry-run").stderr
    assert "say --yes" in run(config, *delete, code=Exit.USAGE).stderr
    assert len(run_json(config, "checkpoint", "list", "life")) == 2
    run(config, *delete, "--yes", "--reason", "no room")
    assert run_json(config, "checkpoint", "list", "life") == [milestone]
    assert "no room" in run(config, "history", "life").stdout
    kept = [r for r in read_audit(config) if r.component == "agent:life"]
    assert [(r.action, r.reason) for r in kept] == [("checkpoint.deleted", "no room")]
    run(config, *delete, "--yes", code=Exit.NOT_FOUND)
    run(config, "checkpoint", "show", "life", made, code=Exit.NOT_FOUND)
    run(config, "checkpoint", "create", "nobody", code=Exit.NOT_FOUND)
    run(config, "checkpoint", "create", "life", "--metadata", "[1]", code=Exit.USAGE)


def test_a_checkpoint_taken_elsewhere_begins_another_agent(
    hw: Client, config: Config, headwater_kafka: Kafka, tmp_path: Path
) -> None:
    """Into a cluster that knows nothing of the first one; its state is the same to the bit."""
    file = tmp_path / "a.checkpoint"
    with hw.agent("moved") as agent:
        append(agent, {"n": 1, "raw": b"\0", "pair": (1, 2)})
        kept = agent.checkpoint(label="here", metadata={"why": "moving"})
        then = agent.copy()
        append(agent, 2)
    export = ("checkpoint", "export", "moved", kept.checkpoint_id, str(file))
    for codec in ("gzip", "lz4", "snappy", "adaptive", "none"):
        assert run_json(config, *export, "--codec", codec, "--force")["bytes"] > 0
    run(config, *export, code=Exit.USAGE)
    elsewhere = fresh_config(headwater_kafka)
    with headwater.connect(elsewhere) as there:
        come = ("checkpoint", "import", str(file), "--as", "arrived")
        dry = run_json(elsewhere, *come, "--dry-run")
        assert list(there.agents()) == []
        done = run_json(elsewhere, *come)
        assert (done["version"], done["state"]) == (1, dry["state"])
        found = there.recover("arrived")
        then.agent_id = "arrived"
        assert found.state == then
        (first,) = there.checkpoints("arrived")
        assert first.details["imported"]["agent_id"] == "moved"
        assert (first.label, first.details["why"]) == ("here", "moving")
        run(elsewhere, *come, code=Exit.FAILED)
        with pytest.raises(AgentExists):
            there.import_checkpoint(file.read_bytes(), "arrived")
        damaged = bytearray(file.read_bytes())
        damaged[200] ^= 1
        with pytest.raises(CorruptData):
            there.import_checkpoint(bytes(damaged), "another")
        file.write_bytes(damaged)
        run(elsewhere, "checkpoint", "import", str(file), "--as", "another", code=Exit.FAILED)
        assert list(there.agents()) == ["arrived"]


def test_a_large_state_is_imported_in_pieces(hw: Client, headwater_kafka: Kafka) -> None:
    """No single change could hold it; what comes back is the same."""
    with hw.agent("large") as agent:
        for part in range(4):
            with agent.change(wait=False) as state:
                state.data[f"part-{part}"] = "é" * 400_000
        kept = agent.checkpoint()
        then = agent.copy()
    data = hw.export_checkpoint("large", kept.checkpoint_id, codec="lz4")
    elsewhere = fresh_config(headwater_kafka)
    with headwater.connect(elsewhere) as there:
        found = there.import_checkpoint(data, "large")
        assert found.state == then
        assert found.version > 1
