"""``headwater node``: runs a node, and tells one what to do."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.confirm import go_on, reason_option
from headwater.cli.context import as_json as json_option
from headwater.cli.context import complete_agent_ids, load_config
from headwater.cli.durations import DURATION
from headwater.cli.orders import (
    complete_node_ids,
    dry_run_option,
    ordering,
    show_outcome,
    timeout_option,
    yes_option,
)
from headwater.errors import ConfigError
from headwater.program import settled

if TYPE_CHECKING:
    from datetime import timedelta

log = logging.getLogger("headwater.node")

_KINDS = (
    "start", "stop", "pause", "resume", "restart", "migrate", "throttle", "read-only",
    "read-write", "checkpoint", "verify", "drain",
)  # fmt: skip


@click.group()
def node() -> None:
    """Run nodes, and tell them what to do."""


@node.command()
@click.argument("classes", metavar="MODULE:CLASS...", nargs=-1, required=True)
@click.option(
    "--node-id", metavar="NAME", help="Its name. Default: HEADWATER_NODE_ID, else host and pid."
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:0",
    show_default=True,
    help="Where its health endpoint is; port 0 for any.",
)
@click.option(
    "--advertise",
    metavar="HOST:PORT",
    help="Where others reach that endpoint. Default: where it listens.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where it keeps emergency checkpoints. Default: in the user's data directory.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="How many steps that are not async may run at a time.",
)
@click.option(
    "--max-agents",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How many agents it takes; 0: no bound.",
)
@click.option(
    "--replicas",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How many warm replicas of other nodes' agents it keeps.",
)
@click.option(
    "--replica-memory",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    metavar="MB",
    help="How large these may be altogether.",
)
@click.option(
    "--grace",
    type=DURATION,
    default="5s",
    show_default=True,
    help="How long steps may go on when the node is to end.",
)
def run(classes: tuple[str, ...], node_id: str | None, grace: timedelta, **options: Any) -> None:
    """Run a node until it is told to end.

    It hosts agents of the classes named (a MODULE alone: all that it defines), which are looked for
    in the current directory, too. SIGTERM and Ctrl-C drain it: its agents go to other nodes, and it
    exits with 0. A second signal ends it at once.
    """
    try:
        from headwater.node.hosted import load_kinds
        from headwater.node.node import Node, Settings
        from headwater.node.node import run as run_node
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "headwater":
            raise
        raise ConfigError(f"a node needs {error.name}: pip install 'headwater[node]'") from error
    # A node talks as the other programs do that run for long.
    logging.getLogger("headwater").setLevel(min(logging.INFO, log.getEffectiveLevel()))
    kinds = load_kinds(classes)
    config = load_config(node_id=node_id)
    settings = Settings(
        data_dir=options.pop("data_dir") or _default_data_dir(config.node_id),
        replica_bytes=options.pop("replica_memory") << 20,
        grace_s=grace.total_seconds(),
        **options,
    )
    with settled(), _told_twice() as told:
        code = run_node(Node(config, kinds, settings), told)
    # Threads in steps that never end must not keep the process.
    _exit(code)


@contextlib.contextmanager
def _told_twice() -> Iterator[threading.Event]:
    """An event that the first signal sets; the second one ends the process."""
    told = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if told.is_set():
            _exit(128 + number)
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    yield told


def _exit(code: int) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _default_data_dir(node_id: str) -> Path:
    from headwater.local import data_dir

    return data_dir(1).parent / "nodes" / node_id


@node.command()
@click.argument("node_id", metavar="NODE", shell_complete=complete_node_ids)
@click.option("--stay", is_flag=True, help="The node does not end; it takes no agents any more.")
@reason_option
@timeout_option
@dry_run_option
@yes_option
@json_option
@click.pass_context
def drain(
    ctx: click.Context,
    /,
    node_id: str,
    stay: bool,
    reason: str,
    timeout: timedelta,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Hand all agents of a node over to others, and end it."""
    then = "it takes none any more" if stay else "it ends"
    if not go_on(f"node {node_id!r} hands its agents over, and {then}", dry_run=dry_run, yes=yes):
        return
    with ordering() as orders:
        outcome = orders.tell(node_id, "DRAIN", (), {"stay": stay}, reason, timeout)
    show_outcome(ctx, outcome, as_json)


@node.command()
@click.argument("node_id", metavar="NODE", shell_complete=complete_node_ids)
@click.argument("kind", metavar="COMMAND", type=click.Choice(_KINDS))
@click.argument("agent_ids", metavar="[ID]...", nargs=-1, shell_complete=complete_agent_ids)
@click.option(
    "--argument",
    "arguments",
    metavar="NAME=VALUE",
    multiple=True,
    help="An argument of the command, its value as JSON, or else as text.",
)
@reason_option
@timeout_option
@dry_run_option
@yes_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    node_id: str,
    kind: str,
    agent_ids: tuple[str, ...],
    arguments: tuple[str, ...],
    reason: str,
    timeout: timedelta,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Send a node any command, for some of its agents or, if none is named, for all.

    COMMAND is start, stop, pause, resume, restart, migrate (--argument target=NODE), throttle
    (--argument rate=STEPS_PER_SECOND), read-only, read-write, checkpoint, verify or drain.
    """
    from headwater.cli.orders import parse_arguments

    given = parse_arguments(arguments)
    whom = ", ".join(map(repr, agent_ids)) or "all its agents"
    if not go_on(f"node {node_id!r}: {kind} {whom}", dry_run=dry_run, yes=yes):
        return
    agents = tuple((agent_id, "") for agent_id in agent_ids)
    with ordering() as orders:
        name = kind.upper().replace("-", "_")
        outcome = orders.tell(node_id, name, agents, given, reason, timeout)
    show_outcome(ctx, outcome, as_json)
