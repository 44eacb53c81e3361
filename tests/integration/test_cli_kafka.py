"""``headwater kafka`` for real: what it starts outlives it, and is found again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater.cli.kafka import kafka as command
from headwater.local import LocalKafka, data_dir, prepare
from headwater.local.existing import running_bootstrap_servers
from tests.support.local_kafka import create, read, runs, write

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

SOURCE = str(Path(__file__).parents[2] / "src")


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about the local one, whatever else is configured."""
    monkeypatch.delenv("HEADWATER_BOOTSTRAP_SERVERS", raising=False)


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """No test pays for the first download."""
    prepare()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a person starts it."""
    return subprocess.run(
        [sys.executable, "-c", "from headwater.cli.kafka import kafka; kafka()", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )


def test_the_command_starts_what_outlives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start, status, start again, stop, start with the data: each command finds the last one's."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    try:
        started = run("start")
        assert started.returncode == 0, started.stderr
        address = started.stdout.strip()
        (shown,) = json.loads(run("status", "--json").stdout)
        assert shown["bootstrap_servers"] == address == running_bootstrap_servers()
        assert shown["running"]
        assert shown["data_dir"] == str(tmp_path / "headwater" / "kafka-1")
        assert all(runs(node["pid"]) for node in shown["nodes"])
        again = run("start")
        assert (again.returncode, again.stdout.strip()) == (0, address)
        assert "already" in again.stderr
        kafka = LocalKafka.find(data_dir(1))
        assert kafka is not None
        create(kafka, "t", 1)
        write(kafka, "t", [b"kept"])
        assert "Stopped" in run("stop").stderr
        assert not any(runs(node["pid"]) for node in shown["nodes"])
        assert running_bootstrap_servers() is None
        assert run("start").stdout.strip() == address
        kafka = LocalKafka.find(data_dir(1))
        assert kafka is not None
        assert read(kafka, "t", 1) == [b"kept"]
    finally:
        run("stop")


def test_nothing_running_is_said(tmp_path: Path) -> None:
    """Status and stop without a Kafka are no errors."""
    runner = CliRunner()
    place = ["--data-dir", str(tmp_path / "none")]
    shown = runner.invoke(command, ["status", "--json", *place])
    assert (shown.exit_code, json.loads(shown.stdout)) == (0, [])
    assert "No local Kafka is running" in runner.invoke(command, ["status", *place]).stderr
    assert "No local Kafka is running" in runner.invoke(command, ["stop", *place]).stderr


def test_a_partly_dead_cluster_is_shown_as_such(tmp_path: Path) -> None:
    """Status tells which broker is missing."""
    with LocalKafka(3, data_dir=tmp_path / "k") as kafka:
        kafka.kill(2)
        shown = CliRunner().invoke(command, ["status", "--data-dir", str(tmp_path / "k")])
        assert "partly running" in shown.stdout
        assert re.search(r"broker 2 .* not running", shown.stdout)


def test_usage_errors_are_usage_errors() -> None:
    """Two brokers are not on offer."""
    assert CliRunner().invoke(command, ["start", "--brokers", "2"]).exit_code == 2
