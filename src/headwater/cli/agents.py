"""``headwater agents``: every agent's head, without reading a state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headwater.cli.context import as_json as json_option
from headwater.cli.context import load_config, reading
from headwater.cli.errors import NothingYet
from headwater.cli.output import emit_json, emit_table, local_time, say, size

if TYPE_CHECKING:
    from headwater.log.snapshots import IndexEntry


@click.command()
@click.option("--long", "long", is_flag=True, help="Show request, partition, bytes and head too.")
@json_option
def agents(long: bool, as_json: bool) -> None:
    """List the agents.

    Reads the index and the events after it; no state.
    """
    found = sorted(_heads(), key=lambda row: row[1].head.agent_id)
    if as_json:
        emit_json([_json(partition, entry) for partition, entry in found])
    elif found:
        _table(found, long)
    else:
        say("no agents")


def _heads() -> list[tuple[int, IndexEntry]]:
    from headwater.recovery.bulk import agent_heads

    try:
        with reading(load_config()) as recovery:
            return [
                (recovery.partition_of(entry.head.agent_id), entry)
                for entry in agent_heads(recovery)
            ]
    except NothingYet as error:
        say(str(error))
        return []


def _json(partition: int, entry: IndexEntry) -> dict[str, Any]:
    from headwater.cli.heads import head_json

    return {
        **head_json(entry.head),
        "partition": partition,
        "snapshots": len(entry.snapshots),
        "snapshot_bytes": sum(pointer.size for pointer in entry.snapshots),
    }


def _table(found: list[tuple[int, IndexEntry]], long: bool) -> None:
    headings = ["ID", "VERSION", "EPOCH", "OWNER", "SESSION", "SEQUENCE", "UPDATED", "SNAPSHOTS"]
    more = ["REQUEST", "PARTITION", "BYTES", "HEAD"]
    rows = []
    for partition, entry in found:
        head = entry.head
        row: list[object] = [
            head.agent_id,
            head.version,
            head.epoch,
            head.node_id if head.owned else "-",
            head.session_id,
            head.sequence,
            local_time(head.updated_at),
            len(entry.snapshots),
        ]
        if long:
            row += [
                head.request_id or "-",
                partition,
                size(sum(pointer.size for pointer in entry.snapshots)),
                head.hash.hex()[:16],
            ]
        rows.append(row)
    right = "VERSION EPOCH SEQUENCE SNAPSHOTS PARTITION BYTES"
    emit_table(headings + more if long else headings, rows, right)
