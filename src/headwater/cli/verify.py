"""``headwater verify``: a replay of the log that proves what recovery gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.context import agent_argument, load_config, quiet, reading
from headwater.cli.context import as_json as json_option
from headwater.cli.errors import NothingYet
from headwater.cli.output import counted, emit_json, emit_table, progress, say
from headwater.cli.recover import failed_with

if TYPE_CHECKING:
    from headwater.recovery import Failed
    from headwater.recovery.verify import Verified


@click.command()
@agent_argument("agent_ids", nargs=-1)
@json_option
@click.pass_context
def verify(ctx: click.Context, /, agent_ids: tuple[str, ...], as_json: bool) -> None:
    """Replay the log and prove what recovery gives.

    Without an ID, for every agent. All events are folded from the first one on (or, where events
    were deleted, from the snapshot that replaces them). The result is compared with what recovery
    gives, head hash and state hash, and, on the way, with each snapshot that the index names:
    checksum, chain, version, and the state hash of full ones. Exits with 1 if anything differs.
    """
    quiet("headwater.recovery")
    results = list(_verified(agent_ids or None))
    rows = [_json(found) for found in results]
    if as_json:
        emit_json(rows)
    else:
        _print(rows)
    ctx.exit(failed_with(found for found, row in zip(results, rows, strict=True) if not row["ok"]))


def _verified(agent_ids: tuple[str, ...] | None) -> Iterator[Verified | Failed]:
    from headwater.log.records import check_agent_id
    from headwater.recovery.verify import verify as replay

    ids = None if agent_ids is None else [check_agent_id(each) for each in agent_ids]
    try:
        with reading(load_config()) as recovery, progress() as advance:

            def show(partition: int, records: int) -> None:
                advance(f"partition {partition}: {records:,} events replayed")

            yield from replay(recovery, ids, show)
    except NothingYet as error:
        if agent_ids is not None:
            raise
        say(str(error))


def _json(found: Verified | Failed) -> dict[str, Any]:
    from headwater.recovery import Failed

    if isinstance(found, Failed):
        return {"agent_id": found.agent_id, "ok": False, "problems": [str(found.error)]}
    return {
        "agent_id": found.agent_id,
        "ok": found.ok,
        "version": found.version,
        "from_version": found.from_version,
        "outcomes": found.outcomes,
        "snapshots": found.snapshots,
        "head_hash": found.head_hash.hex(),
        "state_hash": found.state_hash.hex(),
        "problems": list(found.problems),
        "warnings": list(found.warnings),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    if rows:
        headings = ["ID", "RESULT", "VERSION", "FROM", "RECORDS", "REFUSED", "SNAPSHOTS", "STATE"]
        emit_table(headings, map(_row, rows), "VERSION FROM RECORDS REFUSED SNAPSHOTS")
    for row in rows:
        for problem in row["problems"]:
            say(f"{row['agent_id']} FAILED: {problem}")
        for warning in row.get("warnings", ()):
            say(f"{row['agent_id']}: {warning}")
    bad = sum(not row["ok"] for row in rows)
    say(f"{counted(len(rows), 'agent')} verified: {f'{bad} FAILED' if bad else 'ok'}")


def _row(row: dict[str, Any]) -> list[object]:
    if "outcomes" not in row:
        return [row["agent_id"], "FAILED", "-", "-", "-", "-", "-", "-"]
    outcomes = row["outcomes"]
    refused = sum(outcomes.get(name, 0) for name in ("repeat", "stale", "conflict", "undecodable"))
    return [
        row["agent_id"],
        "ok" if row["ok"] else "FAILED",
        row["version"],
        row["from_version"] or "first",
        sum(outcomes.values()),
        refused,
        row["snapshots"],
        row["state_hash"][:16],
    ]
