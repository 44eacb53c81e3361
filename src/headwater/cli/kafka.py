"""``headwater kafka``: a real Kafka on this machine that outlives the command which started it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from headwater.local import LocalKafka, Status

_SIZES = click.Choice(["1", "3"])
_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.group()
def kafka() -> None:
    """Start, stop and look at a local Apache Kafka."""


@kafka.command()
@click.option("--brokers", type=_SIZES, default="1", show_default=True, help="How many brokers.")
@click.option(
    "--data-dir", type=_DIRECTORY, help="Where its data stays; by default, in your data directory."
)
@click.option(
    "--port",
    type=click.IntRange(1024, 65_000),
    help="The first broker's port; by default 9092, or a free one when that is taken.",
)
def start(brokers: str, data_dir: Path | None, port: int | None) -> None:
    """Start Kafka, with the data that it had; prints its address.

    Three brokers replicate and fail over within two seconds; one broker is lighter. It runs until
    `headwater kafka stop`.
    """
    from headwater.local import LocalKafka
    from headwater.local import data_dir as default

    directory = data_dir or default(int(brokers))
    cluster = LocalKafka.find(directory)
    if cluster is not None and cluster.status.running and len(cluster.nodes) == int(brokers):
        _say("Kafka is running already.")
    else:
        cluster = LocalKafka(int(brokers), data_dir=directory, detached=True, port=port).start()
        status = cluster.status
        _say(f"Kafka {status.kafka} is running ({_count(status)}, data in {directory}).")
        if data_dir is None:
            _say("Stop it with: headwater kafka stop")
        else:
            _say(f"Stop it with: headwater kafka stop --data-dir {directory}")
    _mention_other()
    click.echo(cluster.bootstrap_servers)


@kafka.command()
@click.option("--data-dir", type=_DIRECTORY, help="Stop the one with this data; by default, yours.")
def stop(data_dir: Path | None) -> None:
    """Stop Kafka; its data stays for the next start."""
    running = _running(data_dir)
    for cluster in running:
        status = cluster.status
        cluster.stop()
        _say(f"Stopped Kafka at {status.bootstrap_servers}; its data is in {status.data_dir}.")
    if not running:
        _say("No local Kafka is running.")


@kafka.command()
@click.option("--data-dir", type=_DIRECTORY, help="Look at this data; by default, yours.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, empty if none runs.")
def status(data_dir: Path | None, as_json: bool) -> None:
    """Show which local Kafka is running, and where."""
    found = [cluster.status for cluster in _running(data_dir)]
    if as_json:
        click.echo(json.dumps([_as_json(each) for each in found], indent=2))
        return
    for each in found:
        state = "running" if each.running else "partly running"
        click.echo(f"{each.bootstrap_servers}  Kafka {each.kafka}, {_count(each)}, {state}")
        click.echo(f"  data  {each.data_dir}")
        for node in each.nodes:
            process = f"process {node.pid}" if node.pid else "not running"
            click.echo(f"  broker {node.id}  port {node.port}  {process}")
    if not found:
        _say("No local Kafka is running; start one with: headwater kafka start")
    _mention_other()


def _running(data_dir: Path | None) -> list[LocalKafka]:
    from headwater.local import SIZES, LocalKafka
    from headwater.local import data_dir as default

    directories = [data_dir] if data_dir else [default(size) for size in SIZES]
    found = (LocalKafka.find(directory) for directory in directories)
    return [cluster for cluster in found if cluster is not None]


def _as_json(status: Status) -> dict[str, Any]:
    return {
        "running": status.running,
        "bootstrap_servers": status.bootstrap_servers,
        "kafka": status.kafka,
        "data_dir": str(status.data_dir),
        "nodes": [
            {"id": node.id, "port": node.port, "pid": node.pid, "log": str(node.log)}
            for node in status.nodes
        ],
    }


def _count(status: Status) -> str:
    return "1 broker" if len(status.nodes) == 1 else f"{len(status.nodes)} brokers"


def _mention_other() -> None:
    if address := os.environ.get("HEADWATER_BOOTSTRAP_SERVERS"):
        _say(f"HEADWATER_BOOTSTRAP_SERVERS is set: everything else uses {address}, not this.")


def _say(text: str) -> None:
    click.echo(text, err=True)
