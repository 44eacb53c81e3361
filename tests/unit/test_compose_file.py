"""compose.yaml, as far as it can be judged without a container engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose/compose.yaml").read_text())[
    "services"
]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service(name: str) -> None:
    """It runs a program that there is, under its own name, with no rights, and is looked after."""
    service = SERVICES[name]
    program, *arguments = service["command"]
    if program == "headwater":
        (command, *_) = (each for each in arguments if not each.startswith("-"))
        assert command in COMMANDS
    else:
        assert (program, arguments[0]) == ("python", "-m")
        assert (ROOT / f"{arguments[1].replace('.', '/')}.py").is_file()
    assert service["hostname"] == name
    assert service["cap_drop"] == ["ALL"]
    assert service["restart"] == ("on-failure" if name == "demo" else "unless-stopped")
    assert name == "demo" or service["healthcheck"]["test"][1] == "healthy"


def test_the_brokers() -> None:
    """Each is its own number among the same three, keeps its data, and is known to the others."""
    brokers = [name for name in SERVICES if name.startswith("kafka")]
    for number, name in enumerate(brokers, start=1):
        assert SERVICES[name]["command"][3:] == [str(number), *brokers]
        assert SERVICES[name]["volumes"] == [f"{name}:/data"]
    settings = SERVICES["node-1"]["environment"]
    assert settings["HEADWATER_REPLICATION"] == str(len(brokers))
    addresses = settings["HEADWATER_BOOTSTRAP_SERVERS"].split(",")
    assert addresses == [f"{name}:9092" for name in brokers]


def test_nodes_are_reached_where_they_say() -> None:
    """At their own names."""
    for name in ("node-1", "node-2", "node-3"):
        command = " ".join(SERVICES[name]["command"])
        assert f"--node-id {name} " in command
        assert f"--advertise {name}:8080" in command


def test_whatever_the_image_copies_is_there() -> None:
    """And not kept out of the build's context."""
    kept = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    for line in (ROOT / "compose/Containerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert list(ROOT.glob(source)), source
                assert re.split("/", source)[0] in kept
