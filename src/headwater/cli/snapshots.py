"""``headwater snapshots``: the snapshots from which an agent's past can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headwater.cli.context import agent_argument, load_config, reading
from headwater.cli.context import as_json as json_option
from headwater.cli.output import emit_json, emit_table, local_time, say, size, utc

if TYPE_CHECKING:
    from headwater.recovery.listing import SnapshotInfo


@click.command()
@agent_argument("agent_id")
@click.option("--session", metavar="NAME", help="Only those of this session.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="The newest of each session, so many.",
)
@json_option
def snapshots(agent_id: str, session: str | None, limit: int, as_json: bool) -> None:
    """List an agent's snapshots, newest first.

    Those of the last 24 hours; an id stands for its moment in show --at, diff, fork and restore.
    READS is how many records have to be read for its state.
    """
    from headwater.log.records import check_agent_id
    from headwater.recovery.listing import list_snapshots

    with reading(load_config()) as recovery:
        found = list_snapshots(recovery, check_agent_id(agent_id), session, limit)
    if as_json:
        emit_json([_json(info) for info in found])
    elif found:
        headings = ["ID", "KIND", "VERSION", "STATUS", "STEP", "SESSION", "TIME", "SIZE", "READS"]
        emit_table([*headings, "WHAT"], map(_row, found), "VERSION STEP SIZE READS")
    else:
        say("no snapshots")
    for info in found:
        if info.error is not None:
            say(f"{info.snapshot_id} FAILED: {info.error}")


def _row(info: SnapshotInfo) -> list[object]:
    return [
        info.snapshot_id,
        info.kind,
        info.version,
        "-" if info.status is None else info.status,
        "-" if info.step is None else info.step,
        info.session_id or "-",
        local_time(_ms(info)),
        size(info.size_bytes),
        info.records,
        info.changes.description if info.changes else "-",
    ]


def _ms(info: SnapshotInfo) -> int:
    return round(info.created_at.timestamp() * 1000)


def _json(info: SnapshotInfo) -> dict[str, Any]:
    changes = info.changes
    return {
        "snapshot_id": info.snapshot_id,
        "agent_id": info.agent_id,
        "session_id": info.session_id,
        "kind": info.kind,
        "base_id": info.base_id,
        "version": info.version,
        "status": info.status,
        "step": info.step,
        "time": utc(_ms(info)),
        "bytes": info.size_bytes,
        "records": info.records,
        "error": info.error,
        "changes": changes
        and {
            "description": changes.description,
            "changed_fields": list(changes.changed_fields),
            "removed_fields": list(changes.removed_fields),
            "changed_metadata": list(changes.changed_metadata),
            "new_messages": len(changes.new_messages),
            "change_count": changes.change_count,
        },
    }
