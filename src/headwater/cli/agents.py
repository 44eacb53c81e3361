"""``headwater agents``: every agent's head, and what recovering it would take; reads no state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.context import as_json as json_option
from headwater.cli.context import load_config, reading
from headwater.cli.errors import NothingYet
from headwater.cli.output import counted, emit_json, emit_table, local_time, say, size

if TYPE_CHECKING:
    from headwater.log.snapshots import IndexEntry
    from headwater.recovery.predict import FleetPrediction, Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    partition: int
    entry: IndexEntry
    prediction: Prediction | None = None

    @property
    def snapshot_bytes(self) -> int:
        return sum(pointer.size for pointer in self.entry.snapshots)


_ORDER: dict[str, Callable[[_Row], Any]] = {
    "id": lambda row: row.entry.head.agent_id,
    "version": lambda row: -row.entry.head.version,
    "bytes": lambda row: -row.snapshot_bytes,
    "rto": lambda row: -row.prediction.seconds if row.prediction else 0,
}


@click.command()
@click.option("--long", "long", is_flag=True, help="Show request, partition, bytes and head too.")
@click.option(
    "--sort",
    "order",
    type=click.Choice(list(_ORDER)),
    default="id",
    show_default=True,
    help="By id, or the largest first; rto is the predicted time of a recovery.",
)
@json_option
def agents(long: bool, order: str, as_json: bool) -> None:
    """List the agents.

    Reads the index and the events after it; no state. Predicting recovery times (--sort rto,
    --json) recovers some agents, for about a second, to measure how long that takes here.
    """
    found, fleet = _rows(predicting=as_json or order == "rto")
    found.sort(key=lambda row: (_ORDER[order](row), row.entry.head.agent_id))
    if as_json:
        emit_json([_json(row) for row in found])
    elif found:
        _table(found, long, predicted=fleet is not None)
        if fleet is not None:
            say(
                f"all at once: {counted(fleet.records, 'record')} of snapshots and tails, "
                f"{size(fleet.size_bytes)} of snapshots, about {fleet.seconds:.3g} s"
            )
    else:
        say("no agents")


def _rows(*, predicting: bool) -> tuple[list[_Row], FleetPrediction | None]:
    from headwater.recovery.bulk import agent_heads
    from headwater.recovery.calibrate import Predictor

    try:
        # Times are those of a client that follows the index, as one that recovers much does.
        with reading(load_config(), follow_index=predicting) as recovery:
            entries = list(agent_heads(recovery))
            fleet = Predictor(recovery).fleet(entries) if predicting and entries else None
            return [
                _Row(
                    partition=recovery.partition_of(entry.head.agent_id),
                    entry=entry,
                    prediction=fleet.agents[number] if fleet is not None else None,
                )
                for number, entry in enumerate(entries)
            ], fleet
    except NothingYet as error:
        say(str(error))
        return [], None


def _json(row: _Row) -> dict[str, Any]:
    from headwater.cli.heads import head_json

    assert row.prediction is not None
    return {
        **head_json(row.entry.head),
        "partition": row.partition,
        "snapshots": len(row.entry.snapshots),
        "snapshot_bytes": row.snapshot_bytes,
        "predicted_ms": round(row.prediction.seconds * 1000, 3),
        "predicted_bytes": row.prediction.size_bytes,
        "predicted_records": row.prediction.records,
    }


def _table(found: list[_Row], long: bool, *, predicted: bool) -> None:
    headings = ["ID", "VERSION", "EPOCH", "OWNER", "SESSION", "SEQUENCE", "UPDATED", "SNAPSHOTS"]
    if predicted:
        headings += ["RTO_MS", "READS", "READ_BYTES"]
    if long:
        headings += ["REQUEST", "PARTITION", "BYTES", "HEAD"]
    right = "VERSION EPOCH SEQUENCE SNAPSHOTS PARTITION BYTES RTO_MS READS READ_BYTES"
    emit_table(headings, [_cells(row, long) for row in found], right)


def _cells(row: _Row, long: bool) -> list[object]:
    head = row.entry.head
    cells: list[object] = [
        head.agent_id,
        head.version,
        head.epoch,
        head.node_id if head.owned else "-",
        head.session_id,
        head.sequence,
        local_time(head.updated_at),
        len(row.entry.snapshots),
    ]
    if row.prediction is not None:
        cells += [
            f"{row.prediction.seconds * 1000:.1f}",
            row.prediction.records,
            size(row.prediction.size_bytes),
        ]
    if long:
        cells += [
            head.request_id or "-",
            row.partition,
            size(row.snapshot_bytes),
            head.hash.hex()[:16],
        ]
    return cells
