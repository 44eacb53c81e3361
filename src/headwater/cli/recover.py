"""``headwater recover``: agents read back from the log, and what that took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.context import agent_argument, load_config, quiet, reading
from headwater.cli.context import as_json as json_option
from headwater.cli.errors import Exit, NothingYet
from headwater.cli.output import attempts, emit_json, emit_table, progress, say, size
from headwater.errors import AgentNotFound, ConfigError, HeadwaterError, Unavailable

if TYPE_CHECKING:
    from headwater.recovery import Failed, Recovered


@click.command()
@agent_argument("agent_ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Recover every agent.")
@json_option
@click.pass_context
def recover(
    ctx: click.Context, /, agent_ids: tuple[str, ...], everything: bool, as_json: bool
) -> None:
    """Recover agents, and tell what that took.

    Each is read from index, snapshots and tail, proved, and let go again; nothing is claimed or
    written. Exits with 1 if one could not be recovered, 3 if one is not in the log.
    """
    if bool(agent_ids) == everything:
        raise click.UsageError("name agents, or say --all")
    quiet("headwater.recovery")
    rows, failures = [], []
    for found in _recovered(None if everything else agent_ids):
        rows.append(_json(found))
        if "error" in rows[-1]:
            failures.append(found)
    if as_json:
        emit_json(rows)
    else:
        _print(rows)
    ctx.exit(failed_with(failures))


def failed_with(failures: Iterable[Any]) -> Exit:
    """The exit code for agents that failed; each an object with an ``error``, or without."""
    errors = [getattr(failure, "error", None) for failure in failures]
    if not errors:
        return Exit.OK
    missing = all(isinstance(error, AgentNotFound) for error in errors)
    return Exit.NOT_FOUND if missing else Exit.FAILED


def _recovered(agent_ids: tuple[str, ...] | None) -> Iterator[Recovered | Failed]:
    from headwater.recovery.bulk import recover_many

    try:
        with reading(load_config()) as recovery, progress() as advance:
            if agent_ids is not None:
                yield from (_one(recovery, each) for each in dict.fromkeys(agent_ids))
                return
            for number, found in enumerate(recover_many(recovery), 1):
                advance(f"{number} agents recovered")
                yield found
    except NothingYet as error:
        if agent_ids is not None:
            raise
        say(str(error))


def _one(recovery: Any, agent_id: str) -> Recovered | Failed:
    from headwater.log.records import check_agent_id
    from headwater.recovery import Failed

    try:
        found: Recovered = recovery.recover(check_agent_id(agent_id))
    except (ConfigError, Unavailable):
        raise
    except HeadwaterError as error:
        return Failed(agent_id=agent_id, error=error)
    return found


def _json(found: Recovered | Failed) -> dict[str, Any]:
    from headwater.recovery import Failed

    if isinstance(found, Failed):
        kind = type(found.error).__name__
        return {"agent_id": found.agent_id, "error": str(found.error), "kind": kind}
    return {
        "agent_id": found.agent_id,
        "version": found.version,
        "records": found.records,
        "bytes": found.size_bytes,
        "ms": round(found.seconds * 1000, 3),
        "snapshots": found.snapshots,
        "tail_records": found.tail_records,
        "inapplicable": found.inapplicable,
        "head_hash": found.head.hash.hex(),
        "state_hash": found.state_hash.hex(),
        "warnings": list(found.warnings),
        "tried": attempts(found.tried),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    good = [row for row in rows if "error" not in row]
    if good:
        emit_table(
            ["ID", "VERSION", "RECORDS", "BYTES", "MS", "SNAPSHOTS", "TAIL", "STATE"],
            (
                (
                    row["agent_id"],
                    row["version"],
                    row["records"],
                    size(row["bytes"]),
                    f"{row['ms']:.1f}",
                    row["snapshots"],
                    row["tail_records"],
                    row["state_hash"][:16],
                )
                for row in good
            ),
            "VERSION RECORDS BYTES MS SNAPSHOTS TAIL",
        )
    elif not rows:
        say("no agents")
    for row in good:
        for warning in row["warnings"]:
            say(f"{row['agent_id']}: {warning}")
    for row in rows:
        if "error" in row:
            say(f"{row['agent_id']} FAILED: {row['error']}")
