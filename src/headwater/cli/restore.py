"""``headwater restore``: an agent put back to a moment of its past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headwater.cli.confirm import changing, go_on, reason_option, writing
from headwater.cli.context import agent_argument
from headwater.cli.context import as_json as json_option
from headwater.cli.moments import MOMENT, WithMoments
from headwater.cli.output import emit_json, say
from headwater.errors import AgentNotFound

if TYPE_CHECKING:
    from headwater.agent.restore import Restored
    from headwater.client import Client
    from headwater.state.compare import Difference


@click.command(cls=WithMoments)
@agent_argument("agent_id")
@click.argument("moment", type=MOMENT, required=False)
@click.option("--undo", is_flag=True, help="Back to what it was before its last restore.")
@click.option("--session", metavar="NAME", help="The session that restores.")
@reason_option
@changing
@json_option
def restore(
    agent_id: str,
    moment: Any,
    undo: bool,
    session: str | None,
    reason: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Put an agent back to a moment of its past.

    By one more event: what was since stays in the log, kept by a checkpoint, and --undo leads back
    to it. A moment is a version (42), a time (2026-03-01T09:00, or "10m ago"), or the id of a
    checkpoint or snapshot.
    """
    if (moment is None) != undo:
        raise click.UsageError("name a moment, or say --undo")
    with writing() as client:
        if undo:
            moment, reason = client.before_restore(agent_id).checkpoint_id, reason or "undo"
        target, difference = _preview(client, agent_id, moment)
        what = (
            f"agent {agent_id!r}: version {difference.before} is followed by the state of version "
            f"{target} again: {difference.description}"
        )
        done: Restored | None = None
        if go_on(what, dry_run=dry_run, yes=yes):
            done = client.restore(agent_id, moment, session=session, reason=reason)
    if as_json:
        emit_json({**_json(agent_id, target, difference, done), "dry_run": dry_run})
    elif done is not None:
        _tell(done)


def _preview(client: Client, agent_id: str, moment: Any) -> tuple[int, Difference]:
    """The version that a moment means, and what restoring it would change."""
    from headwater.state.compare import compare
    from headwater.state.model import new_document

    target = client.at(agent_id, moment)
    try:
        now = client.get(agent_id, upgrade=False)
    except AgentNotFound:  # deleted: it will live again
        difference = compare(new_document(), target.agent.document, after=target.version)
    else:
        documents = now.agent.document, target.agent.document
        difference = compare(*documents, before=now.version, after=target.version)
    return target.version, difference


def _json(
    agent_id: str, target: int, difference: Difference, done: Restored | None
) -> dict[str, Any]:
    return {
        "agent_id": agent_id,
        "restored_version": target,
        "before": done.before if done else difference.before,
        "version": done.version if done else None,
        "changed": done.changed if done else False,
        "checkpoint_id": done.checkpoint_id if done else None,
        "by_reference": done.by_reference if done else None,
        "bytes": done.size_bytes if done else None,
        "state_hash": done.target.state_hash.hex() if done else None,
        "description": difference.description,
    }


def _tell(done: Restored) -> None:
    if done.changed:
        say(
            f"done: it is at version {done.version}; checkpoint {done.checkpoint_id} keeps version "
            f"{done.before}, and --undo leads back there"
        )
    else:
        say("nothing to do: that is its state already")
