"""``headwater fork``: a new agent from a moment of another one."""

from __future__ import annotations

from typing import Any

import click

from headwater.cli.confirm import changing, go_on, writing
from headwater.cli.context import agent_argument
from headwater.cli.context import as_json as json_option
from headwater.cli.moments import MOMENT, WithMoments
from headwater.cli.output import emit_json, say


@click.command(cls=WithMoments)
@agent_argument("agent_id")
@click.argument("new_id", metavar="NEW_ID")
@click.option(
    "--at", "moment", type=MOMENT, metavar="MOMENT", help="From which moment. Default: from now."
)
@click.option("--session", metavar="NAME", help="The session that makes it.")
@changing
@json_option
def fork(
    agent_id: str,
    new_id: str,
    moment: Any,
    session: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Make a new agent from a moment of another one.

    Copy-on-write: it stores only what it changes itself, and outlives the other one. A moment is
    a version (42), a time (2026-03-01T09:00, or "10m ago"), or the id of a checkpoint or snapshot.
    """
    with writing() as client:
        origin = client.get(agent_id, upgrade=False) if moment is None else None
        version = origin.version if origin else client.at(agent_id, moment).version
        what = f"agent {new_id!r} begins with the state of {agent_id!r} at version {version}"
        made = None
        if go_on(what, dry_run=dry_run, yes=yes):
            made = client.fork(agent_id, version if origin else moment, new_id, session=session)
    if as_json:
        emit_json(
            {
                "agent_id": new_id,
                "from": agent_id,
                "from_version": version,
                "version": made.version if made else None,
                "state_hash": made.state_hash.hex() if made else None,
                "dry_run": dry_run,
            }
        )
    elif made:
        say(f"done: {new_id!r} is at version {made.version}")
