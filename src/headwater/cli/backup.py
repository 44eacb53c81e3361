"""``headwater backup``: a second copy of what agents are recovered from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from headwater.cli.confirm import consent, yes_option
from headwater.cli.context import as_json as json_option
from headwater.cli.context import load_config, quiet
from headwater.cli.durations import DURATION
from headwater.cli.errors import Exit
from headwater.cli.output import (
    counted,
    emit_fields,
    emit_json,
    emit_table,
    progress,
    say,
    size,
)
from headwater.config import Config
from headwater.loader import load_app

_to = click.option(
    "--to", "url", metavar="URL", help="Where the backup is. Default: HEADWATER_BACKUP."
)
_replica = click.option(
    "--replica",
    metavar="URL",
    help="Keep each agent's newest full snapshot there, too. Default: HEADWATER_REPLICA.",
)


def _segment_bytes() -> Callable[[Any], Any]:
    return click.option(
        "--segment-bytes",
        type=click.IntRange(1 << 10, 32 << 20),
        default=16 << 20,
        show_default=True,
        help="How large a segment may become, before compression.",
    )


@click.group()
def backup() -> None:
    """Keep a second copy of all agents on a storage tier."""


@backup.command()
@_to
@_replica
@click.option(
    "--interval",
    type=DURATION,
    default="10s",
    show_default=True,
    help="How often what is new is copied.",
)
@_segment_bytes()
@click.option("--json-stats", is_flag=True, help="Print what was done as JSON at the end.")
def run(
    url: str | None,
    replica: str | None,
    interval: timedelta,
    segment_bytes: int,
    json_stats: bool,
) -> None:
    """Back up for as long as it runs.

    Any number of instances share the partitions. SIGTERM and Ctrl-C end it in order.
    """
    config = load_config()
    app = load_app("consumers.backup.app")
    app.run(
        config,
        _place(config, url),
        interval=interval,
        segment_bytes=segment_bytes,
        replica=replica or config.replica,
        json_stats=json_stats,
    )


@backup.command()
@_to
@_replica
@_segment_bytes()
@json_option
def once(url: str | None, replica: str | None, segment_bytes: int, as_json: bool) -> None:
    """Copy what is there now and not in the backup yet, and end: for a scheduler."""
    from contextlib import ExitStack

    from headwater.tiers import open_tier

    quiet("headwater.kafka")
    config = load_config()
    app = load_app("consumers.backup")
    with ExitStack() as stack:
        tier = stack.enter_context(open_tier(_place(config, url), config))
        second = replica or config.replica
        other = None if second is None else stack.enter_context(open_tier(second, config))
        advance = stack.enter_context(progress())
        done = app.run_once(
            config, tier, segment_bytes=segment_bytes, replica=other, advance=advance
        )
    total = app.Copies()
    for each in done.values():
        total.add(each)
    figures = {name: getattr(total, name) for name in total.__slots__}
    if as_json:
        emit_json({**figures, "partitions": len(done)})
    else:
        say(
            f"{counted(total.records, 'record')} copied, {size(total.stored_bytes)} in "
            f"{counted(total.segments, 'segment')} of {counted(len(done), 'partition')}"
        )


@backup.command()
@_to
@json_option
@click.pass_context
def status(ctx: click.Context, /, url: str | None, as_json: bool) -> None:
    """Show how far the backup is, and how far behind.

    Exits with 5 where the cluster does not answer, so that the lag is unknown.
    """
    from headwater.tiers import open_tier

    quiet("headwater.kafka")
    config = load_config()
    with open_tier(_place(config, url), config) as tier:
        found = load_app("consumers.backup").status(config, tier)
    rows = [_json(part) for part in found.partitions]
    lags = [row["lag_seconds"] for row in rows]
    whole = {
        "partitions": rows,
        "prefix": found.manifest.prefix,
        "cluster_id": found.manifest.cluster_id,
        "segments": sum(row["segments"] for row in rows),
        "size_bytes": sum(row["size_bytes"] for row in rows),
        "lag_records": None if None in lags else sum(row["lag_records"] for row in rows),
        "lag_seconds": None if None in lags else max(lags, default=0.0),
        "unreachable": found.unreachable,
    }
    if as_json:
        emit_json(whole)
    else:
        _print(whole)
    ctx.exit(Exit.TIMEOUT if found.unreachable else Exit.OK)


def _json(part: Any) -> dict[str, Any]:
    return {
        "partition": part.partition,
        "segments": part.segments,
        "size_bytes": part.size_bytes,
        "reach": part.reach._asdict(),
        "lag_records": part.lag_records,
        "lag_seconds": part.lag_seconds,
    }


def _print(whole: dict[str, Any]) -> None:
    headings = ["PARTITION", "SEGMENTS", "SIZE", "SNAPSHOTS", "BEHIND", "SECONDS"]
    emit_table(
        headings,
        (
            [
                row["partition"],
                row["segments"],
                size(row["size_bytes"]),
                row["reach"]["snapshots"],
                "?" if row["lag_records"] is None else row["lag_records"],
                "?" if row["lag_seconds"] is None else f"{row['lag_seconds']:.1f}",
            ]
            for row in whole["partitions"]
        ),
        " ".join(headings),
    )
    if whole["unreachable"]:
        say(whole["unreachable"])
    emit_fields(
        [
            ("of", f"{whole['prefix']}* in cluster {whole['cluster_id']}"),
            ("size", f"{size(whole['size_bytes'])} in {counted(whole['segments'], 'segment')}"),
        ]
    )


@backup.command()
@_to
@json_option
@click.pass_context
def verify(ctx: click.Context, /, url: str | None, as_json: bool) -> None:
    """Read the whole backup, and prove every agent from it alone.

    Exits with 1 where a segment is damaged, or an agent cannot be proved. Needs no Kafka.
    """
    from headwater.backup.archive import Archive
    from headwater.backup.prove import prove
    from headwater.tiers import open_tier

    config = _offline()
    agents, damaged = [], []
    with open_tier(_place(config, url), config) as tier, progress() as advance:
        for found in prove(Archive(tier, 128 << 20), advance):
            if isinstance(found, str):
                damaged.append(found)
            else:
                agents.append(found)
    bad = [each for each in agents if each.problem is not None]
    if as_json:
        rows = [
            {
                "agent_id": each.agent_id,
                "version": each.version,
                "ok": each.problem is None,
                "head_hash": each.hash.hex(),
                "state_hash": each.state_hash.hex() if each.state_hash else None,
                "problem": each.problem,
            }
            for each in agents
        ]
        emit_json({"agents": rows, "damaged": damaged})
    for text in damaged:
        say(f"damaged: {text}")
    for each in bad:
        say(f"{each.agent_id} FAILED: {each.problem}")
    say(f"{counted(len(agents), 'agent')}: {f'{len(bad)} FAILED' if bad else 'all proved'}")
    ctx.exit(Exit.FAILED if bad or damaged else Exit.OK)


@backup.command()
@yes_option
def release(yes: bool) -> None:
    """Have retention wait for no backup any more.

    What a backup has not copied is kept until it has. Say this where there is to be no backup any
    longer; a backup that runs takes it back.
    """
    quiet("headwater.kafka")
    config = load_config()
    consent(f"Keep nothing for a backup of {config.prefix}* any more?", yes=yes)
    partitions = load_app("consumers.backup").release(config)
    say(f"released in {counted(partitions, 'partition')}")


def _place(config: Config, url: str | None) -> str:
    found = url or config.backup
    if found is None:
        raise click.UsageError("say where the backup is: --to URL, or HEADWATER_BACKUP")
    return found


def _offline() -> Config:
    """Settings; where there is no Kafka at all, with an address at which none is asked."""
    from headwater.errors import ConfigError

    try:
        return load_config()
    except ConfigError:
        return load_config(bootstrap_servers="localhost:9092")
