"""``headwater start``, ``stop``, ``pause``, ``resume`` and ``migrate``: what runs, and where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from headwater.cli.confirm import dry_run_option, go_on, reason_option, yes_option
from headwater.cli.context import agent_argument
from headwater.cli.context import as_json as json_option
from headwater.cli.orders import complete_node_ids, ordering, show_outcome, timeout_option
from headwater.cli.output import counted
from headwater.errors import AgentNotFound


def _agents(command: Callable[..., Any]) -> Callable[..., Any]:
    """What these commands have in common."""
    for option in (
        json_option,
        yes_option,
        dry_run_option,
        timeout_option,
        reason_option,
        agent_argument("agent_ids", nargs=-1, required=True),
    ):
        command = option(command)
    return click.pass_context(command)


@click.command()
@click.option("--kind", metavar="NAME", help="Their class. Default: the one that ran them before.")
@click.option(
    "--node",
    "node_id",
    metavar="NODE",
    shell_complete=complete_node_ids,
    help="The node that is to run them. Default: for each, the one that has the fewest.",
)
@click.option("--force", is_flag=True, help="Even agents that are quarantined.")
@_agents
def start(
    ctx: click.Context,
    /,
    agent_ids: tuple[str, ...],
    kind: str | None,
    node_id: str | None,
    force: bool,
    reason: str,
    timeout: timedelta,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Have nodes run agents, new ones or such as were stopped."""
    with ordering() as orders:
        kinds = dict.fromkeys(agent_ids, kind or "")
        if kind is None:
            known = orders.known_kinds(agent_ids)
            if missing := [each for each in agent_ids if each not in known]:
                raise AgentNotFound(
                    f"no node ever ran {', '.join(map(repr, missing))}: name its class by --kind"
                )
            kinds = known
        placed = {node_id: list(kinds.items())} if node_id else orders.place(kinds)
        what = "; ".join(
            f"node {name!r} starts {_named([each for each, _ in agents])}"
            for name, agents in placed.items()
        )
        if not go_on(what, dry_run=dry_run, yes=yes):
            return
        arguments = {"timeout_s": timeout.total_seconds(), **({"force": True} if force else {})}
        outcomes = orders.tell_all(placed, "START", arguments, reason, timeout)
    show_outcome(ctx, outcomes, as_json)


@click.command()
@_agents
def stop(ctx: click.Context, /, **options: Any) -> None:
    """Have agents given up; they are not run again until they are started."""
    _tell(ctx, "STOP", "is stopped", {}, **options)


@click.command()
@_agents
def pause(ctx: click.Context, /, **options: Any) -> None:
    """Let no further step of agents begin; their nodes keep them."""
    _tell(ctx, "PAUSE", "pauses", {}, **options)


@click.command()
@_agents
def resume(ctx: click.Context, /, **options: Any) -> None:
    """Go on with agents that were paused."""
    _tell(ctx, "RESUME", "goes on", {}, **options)


@click.command()
@click.option(
    "--to",
    "target",
    metavar="NODE",
    required=True,
    shell_complete=complete_node_ids,
    help="The node that is to run them.",
)
@_agents
def migrate(ctx: click.Context, /, target: str, **options: Any) -> None:
    """Move agents to another node; one that does not take them leaves them where they are."""
    _tell(ctx, "MIGRATE", f"moves to node {target!r}", {"target": target}, **options)


def _tell(
    ctx: click.Context,
    kind: str,
    what: str,
    arguments: dict[str, Any],
    *,
    agent_ids: tuple[str, ...],
    reason: str,
    timeout: timedelta,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    with ordering() as orders:
        placed: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for agent_id, route in orders.routes(dict.fromkeys(agent_ids)).items():
            placed[route.node_id].append((agent_id, route.kind))
        text = "; ".join(
            f"on node {name!r}: {_named([each for each, _ in agents])} {what}"
            for name, agents in placed.items()
        )
        if not go_on(text, dry_run=dry_run, yes=yes):
            return
        outcomes = orders.tell_all(placed, kind, arguments, reason, timeout)
    show_outcome(ctx, outcomes, as_json)


def _named(agent_ids: list[str]) -> str:
    shown = ", ".join(map(repr, agent_ids[:3]))
    return shown if len(agent_ids) <= 3 else f"{shown} and {counted(len(agent_ids) - 3, 'other')}"
