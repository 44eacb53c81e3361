"""``headwater history``: what happened to an agent, record by record."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.context import agent_argument, load_config, reading
from headwater.cli.context import as_json as json_option
from headwater.cli.output import emit_json, emit_table, local_time, utc
from headwater.errors import AgentNotFound

if TYPE_CHECKING:
    from headwater.recovery.replay import Entry


@click.command()
@agent_argument("agent_id")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest records, so many.")
@json_option
def history(agent_id: str, limit: int | None, as_json: bool) -> None:
    """Show what happened to an agent, record by record.

    For each record what the fold made of it: admitted, repeat, stale, conflict, barrier, not
    applicable (admitted, but its patch changed nothing), undecodable, or unknown (what it
    extends is no longer in the log). Reads the agent's whole partition of events.
    """
    from headwater.log.records import check_agent_id
    from headwater.recovery.replay import history as replay

    with reading(load_config()) as recovery:
        entries = deque(replay(recovery, check_agent_id(agent_id)), maxlen=limit)
    if not entries:
        raise AgentNotFound(f"agent {agent_id!r} is not in the log")
    if as_json:
        emit_json([_json(entry) for entry in entries])
        return
    headings = ["OFFSET", "KIND", "EPOCH", "SEQ", "VERSION", "OUTCOME", "NODE", "TIME", "WHAT"]
    emit_table(headings, map(_row, entries), "OFFSET EPOCH SEQ VERSION")


def _row(entry: Entry) -> list[object]:
    change = entry.change
    return [
        entry.offset,
        change.kind if change else "-",
        change.epoch if change else "-",
        entry.sequence,
        entry.version,
        entry.outcome,
        change.node_id if change else "-",
        local_time(change.created_at) if change else "-",
        entry.description,
    ]


def _json(entry: Entry) -> dict[str, Any]:
    change = entry.change
    return {
        "offset": entry.offset,
        "kind": change.kind if change else None,
        "epoch": change.epoch if change else None,
        "sequence": entry.sequence,
        "version": entry.version,
        "outcome": entry.outcome,
        "description": entry.description,
        "node_id": change.node_id if change else None,
        "session_id": change.session_id if change else None,
        "request_id": change.request_id if change else None,
        "time": utc(change.created_at) if change else None,
        "bytes": entry.size_bytes,
        "digest": change.digest.hex() if change else None,
    }
