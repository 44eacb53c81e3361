"""``headwater repair``: an agent that nothing proves any more goes on from what is proved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headwater.cli.confirm import changing, consent, reason_option, writing
from headwater.cli.context import agent_argument
from headwater.cli.context import as_json as json_option
from headwater.cli.output import attempts, emit_json, emit_table, local_time, say, size

if TYPE_CHECKING:
    from headwater.mending import Repaired


@click.command()
@agent_argument("agent_id")
@reason_option
@changing
@json_option
def repair(agent_id: str, reason: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Have an agent whose state nothing proves go on from the last state that is proved.

    That state is appended as an event; the events since then, which cannot be applied to it, are
    listed and go to dead-letters. An agent that can be recovered is left alone.
    """
    with writing() as client:
        found = client.repair(agent_id, dry_run=True)
        what = (
            f"agent {agent_id!r}: version {found.head} is followed by the state of version "
            f"{found.version} again, the last that is proved; {len(found.dropped)} events between "
            "them go to dead-letters"
        )
        done = False
        if found.broken and not as_json:
            _print(found)
        if found.broken:
            say(what)
        if found.broken and not dry_run:
            consent("Go on?", yes=yes)
            found = client.repair(agent_id, reason=reason)
            done = True
    if as_json:
        emit_json({**_json(found), "repaired": done, "dry_run": dry_run})
    elif not found.broken:
        say(f"nothing to repair: version {found.version} of {agent_id!r} is proved")
    elif done:
        say(f"done: {agent_id!r} goes on from the state of version {found.version}")


def _print(found: Repaired) -> None:
    for attempt in found.tried:
        say(str(attempt))
    if found.dropped:
        emit_table(
            ["OFFSET", "KIND", "SEQUENCE", "BYTES", "TIME"],
            ((d.offset, d.kind, d.sequence, size(d.size_bytes), local_time(d.created_at))
             for d in found.dropped),
            "OFFSET SEQUENCE BYTES",
        )  # fmt: skip


def _json(found: Repaired) -> dict[str, Any]:
    return {
        "agent_id": found.agent_id,
        "broken": found.broken,
        "version": found.version,
        "head_version": found.head,
        "dropped": [
            {
                "offset": each.offset,
                "kind": each.kind,
                "sequence": each.sequence,
                "bytes": each.size_bytes,
                "created_at_ms": each.created_at,
            }
            for each in found.dropped
        ],
        "tried": attempts(found.tried),
    }
