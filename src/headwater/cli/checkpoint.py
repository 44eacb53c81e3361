"""``headwater checkpoint``: moments of agents that are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.confirm import consent, dry_run_option, keep_in_audit, reason_option, yes_option
from headwater.cli.context import agent_argument, connected, load_config, reading
from headwater.cli.context import as_json as json_option
from headwater.cli.errors import Exit
from headwater.cli.output import emit_fields, emit_json, emit_table, local_time, say, size, utc
from headwater.errors import CorruptData, HeadwaterError, RetryableError

if TYPE_CHECKING:
    from headwater.log.checkpoints import Checkpoint, CheckpointState
    from headwater.recovery import Recovery

_TYPES = click.Choice(["manual", "milestone", "emergency", "automatic"])
_CODECS = click.Choice(["by-size", "adaptive", "none", "gzip", "lz4", "snappy"])
# No state is larger, nor its file.
_MOST_BYTES = 96 << 20

_checkpoint_argument = click.argument("checkpoint_id", metavar="CHECKPOINT")


@click.group()
def checkpoint() -> None:
    """Keep moments of agents, and take them elsewhere."""


@checkpoint.command("list")
@agent_argument("agent_id")
@json_option
def list_(agent_id: str, as_json: bool) -> None:
    """List an agent's checkpoints, newest first."""
    from headwater.recovery.checkpoints import list_checkpoints

    with reading(load_config()) as recovery:
        found = list_checkpoints(recovery, _checked(agent_id))
    if as_json:
        emit_json([_json(each) for each in found])
        return
    if not found:
        say("no checkpoints")
        return
    headings = ["CHECKPOINT", "TYPE", "VERSION", "TIME", "NODE", "LABEL"]
    rows = (
        [c.checkpoint_id, c.type, c.version, local_time(c.created_at), c.node_id, c.label]
        for c in found
    )
    emit_table(headings, rows, "VERSION")


@checkpoint.command()
@agent_argument("agent_id")
@_checkpoint_argument
@json_option
@click.pass_context
def show(ctx: click.Context, /, agent_id: str, checkpoint_id: str, as_json: bool) -> None:
    """Show a checkpoint, and prove that its state can be had.

    Exits with 1 where it cannot.
    """
    from headwater.recovery.checkpoints import find_checkpoint

    with reading(load_config()) as recovery:
        found, held = find_checkpoint(recovery, _checked(agent_id), checkpoint_id)
        state_hash, error = _proof(recovery, found)
    proof: dict[str, Any] = {"state": state_hash, "error": error, "held": _held(held)}
    if as_json:
        emit_json({**_json(found), **proof})
    else:
        emit_fields(_fields(found, held))
        emit_fields([("proved", state_hash or f"NO: {error}")])
    ctx.exit(Exit.OK if error is None else Exit.FAILED)


@checkpoint.command()
@agent_argument("agent_id")
@click.option("--type", "type_", type=_TYPES, default="manual", show_default=True, help="Its type.")
@click.option("--label", default="", metavar="TEXT", help="What people will know it by.")
@click.option("--metadata", metavar="JSON", help="A JSON object to keep with it.")
@click.option("--self-contained", is_flag=True, help="Give it a state of its own soon.")
@json_option
def create(
    agent_id: str,
    type_: str,
    label: str,
    metadata: str | None,
    self_contained: bool,
    as_json: bool,
) -> None:
    """Keep the moment at which an agent is now.

    Whoever owns it, and whether it hangs or not. Prints the checkpoint's id.
    """
    details = _metadata(metadata)
    with connected(load_config()) as client:
        made = client.checkpoint(
            _checked(agent_id), type_, label, details, self_contained=self_contained
        )
    if as_json:
        emit_json(_json(made))
        return
    say(f"kept agent {agent_id!r} at version {made.version}")
    click.echo(made.checkpoint_id)


@checkpoint.command()
@agent_argument("agent_id")
@_checkpoint_argument
@dry_run_option
@yes_option
@reason_option
def delete(agent_id: str, checkpoint_id: str, dry_run: bool, yes: bool, reason: str) -> None:
    """Give a checkpoint up.

    What it alone kept, retention may then delete; the agent and its log stay as they are.
    """
    from headwater.recovery.checkpoints import find_checkpoint

    config = load_config()
    with reading(config) as recovery:
        found, _ = find_checkpoint(recovery, _checked(agent_id), checkpoint_id)
    what = f"{found.type} checkpoint {checkpoint_id!r} of agent {agent_id!r} (version "
    what += f"{found.version}, {local_time(found.created_at)}"
    what += f", {found.label!r})" if found.label else ")"
    if dry_run:
        say(f"would give up {what}")
        return
    say(f"giving up {what}")
    consent("Give it up?", yes=yes)
    with connected(config) as client:
        client.delete_checkpoint(agent_id, checkpoint_id, reason=reason)
    keep_in_audit(
        config,
        "checkpoint.deleted",
        f"agent:{agent_id}",
        what,
        reason,
        {"checkpoint_id": checkpoint_id, "version": found.version},
    )
    say("done")


@checkpoint.command()
@agent_argument("agent_id")
@_checkpoint_argument
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--codec", type=_CODECS, default="by-size", show_default=True, help="How to compress the state."
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@json_option
def export(
    agent_id: str, checkpoint_id: str, file: Path, codec: str, force: bool, as_json: bool
) -> None:
    """Write a checkpoint into a file that needs nothing else to have its state again."""
    if file.exists() and not force:
        raise click.UsageError(f"{file} is there already; --force writes over it")
    with connected(load_config()) as client:
        data = client.export_checkpoint(_checked(agent_id), checkpoint_id, codec=codec)
    _replace(file, data)
    if as_json:
        emit_json({"file": str(file), "bytes": len(data)})
    else:
        say(f"wrote {size(len(data))} to {file}")


@checkpoint.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--as", "new_id", required=True, metavar="NEW_ID", help="The new agent's id.")
@dry_run_option
@json_option
def import_(file: Path, new_id: str, dry_run: bool, as_json: bool) -> None:
    """Begin a new agent with the state of an exported checkpoint.

    The file is verified first, and nothing is written if it is not as it was exported.
    """
    from headwater.log.exports import decode_export
    from headwater.state.model import state_hash

    if file.stat().st_size > _MOST_BYTES:
        raise CorruptData(f"{file} is larger than any checkpoint's file", "size")
    data = file.read_bytes()
    made, document = decode_export(data)
    said = f"checkpoint {made.checkpoint_id!r} of agent {made.agent_id!r}, version {made.version}"
    version, digest = 0, state_hash(_checked(new_id), document)
    if not dry_run:
        with connected(load_config()) as client:
            recovered = client.import_checkpoint(data, new_id)
        version, digest = recovered.version, recovered.state_hash
    if as_json:
        imported = {"agent_id": new_id, "version": version, "state": digest.hex()}
        emit_json({**imported, "dry_run": dry_run, "checkpoint": _json(made)})
    else:
        say(f"{'would begin' if dry_run else 'began'} agent {new_id!r} with {said}")


def _checked(agent_id: str) -> str:
    from headwater.log.records import check_agent_id

    return check_agent_id(agent_id)


def _proof(recovery: Recovery, found: Checkpoint) -> tuple[str | None, str | None]:
    """The hash of its state, or why that cannot be had."""
    from headwater.recovery.travel import at

    try:
        recovered = at(recovery, found.agent_id, found.checkpoint_id)
    except RetryableError:
        raise
    except HeadwaterError as error:
        return None, str(error)
    return recovered.state_hash.hex(), None


def _metadata(text: str | None) -> dict[str, Any]:
    from headwater.cli.tagged import from_tagged

    try:
        value = from_tagged(json.loads(text or "{}"))
    except ValueError as error:
        raise click.UsageError(f"--metadata is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise click.UsageError("--metadata takes a JSON object")
    return value


def _replace(file: Path, data: bytes) -> None:
    """Write all of a file, or nothing of it."""
    draft = file.with_name(file.name + ".part")
    try:
        draft.write_bytes(data)
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise click.ClickException(f"cannot write {file}: {error}") from error


def _json(found: Checkpoint) -> dict[str, Any]:
    from headwater.cli.tagged import to_tagged

    return {
        "checkpoint_id": found.checkpoint_id,
        "agent_id": found.agent_id,
        "type": found.type,
        "label": found.label,
        "metadata": to_tagged(found.details),
        "version": found.version,
        "sequence": found.sequence,
        "hash": found.hash.hex(),
        "state_hash": found.state_hash.hex() if found.state_hash else None,
        "session_id": found.session_id,
        "request_id": found.request_id,
        "node_id": found.node_id,
        "created_at": utc(found.created_at),
    }


def _held(held: CheckpointState | None) -> dict[str, Any] | None:
    if held is None:
        return None
    return {
        "offset": held.offset,
        "codec": held.codec,
        "bytes": held.original_size,
        "stored_bytes": held.compressed_size,
        "created_at": utc(held.created_at),
    }


def _fields(found: Checkpoint, held: CheckpointState | None) -> list[tuple[str, object]]:
    by_itself = "-"
    if held is not None:
        by_itself = f"{size(held.compressed_size)} of {size(held.original_size)} in {held.codec}"
    return [
        ("checkpoint", found.checkpoint_id),
        ("agent", found.agent_id),
        ("type", found.type),
        ("label", found.label or "-"),
        ("metadata", found.details or "-"),
        ("version", found.version),
        ("sequence", found.sequence),
        ("session", found.session_id or "-"),
        ("request", found.request_id or "-"),
        ("time", f"{local_time(found.created_at)} by {found.node_id}"),
        ("head", found.hash.hex()),
        ("by itself", by_itself),
    ]
