"""``headwater restore-cluster``: an empty cluster is filled from a backup."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from headwater.cli.confirm import consent, dry_run_option, yes_option
from headwater.cli.context import as_json as json_option
from headwater.cli.context import load_config, quiet
from headwater.cli.errors import Exit
from headwater.cli.output import counted, emit_json, progress, say, size

_CACHE_BYTES = 256 << 20


@click.command("restore-cluster")
@click.option("--from", "url", required=True, metavar="URL", help="Where the backup is.")
@click.option(
    "--partial",
    is_flag=True,
    help="Leave out what is damaged, and agents that cannot be had without it; list them.",
)
@dry_run_option
@yes_option
@json_option
@click.pass_context
def restore_cluster(
    ctx: click.Context, /, url: str, partial: bool, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Fill an empty cluster, or an empty prefix, from a backup.

    Makes the topics, and writes every agent's snapshots, checkpoints and index into them, so that
    agents go on where the backup has them. Refuses a cluster that holds agents or events; one that
    was interrupted is simply run again. Nothing else may write there meanwhile: start compactors
    and agents afterwards.
    """
    from headwater.backup.archive import Archive
    from headwater.backup.restore import plan_restore, restore
    from headwater.tiers import open_tier

    quiet("headwater.kafka")
    config = load_config()
    with open_tier(url, config) as tier, progress() as advance:
        archive = Archive(tier, _CACHE_BYTES)
        plan = plan_restore(archive, partial=partial, advance=advance)
        found = plan.contents()
        what = (
            f"{counted(found.agents, 'agent')} ({size(found.size_bytes)}, "
            f"{counted(found.partitions, 'partition')}) into {config.prefix}* "
            f"at {config.bootstrap_servers}"
        )
        for each in found.damaged:
            say(f"damaged: {each}")
        if dry_run:
            say(f"would write {what}")
            result: dict[str, Any] = asdict(found)
        else:
            consent(f"Write {what}?", yes=yes)
            done = restore(archive, config, plan, partial=partial, advance=advance)
            result = asdict(done)
            for lost in done.lost:
                say(f"left out: agent {lost}: the backup does not hold all of its snapshots")
            say(f"{counted(done.records, 'record')} written in {done.seconds:.1f} s")
    if as_json:
        emit_json({"dry_run": dry_run, **result})
    elif not dry_run:
        say("now start the compactor, and a backup of this cluster to another place")
    ctx.exit(Exit.FAILED if result.get("lost") or found.damaged else Exit.OK)
