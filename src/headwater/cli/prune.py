"""``headwater prune`` and ``headwater retain``: one pass of retention, or one every few minutes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.confirm import consent, dry_run_option, keep_in_audit, reason_option, yes_option
from headwater.cli.context import as_json as json_option
from headwater.cli.context import connect, load_config, quiet
from headwater.cli.durations import DURATION
from headwater.cli.errors import Exit
from headwater.cli.output import counted, emit_json, emit_table, say, size
from headwater.clock import wall_ms
from headwater.loader import load_app

if TYPE_CHECKING:
    from headwater.config import Config


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how long what is kept."""
    for option in (
        click.option(
            "--compress-after",
            type=DURATION,
            default="1h",
            show_default=True,
            metavar="DURATION",
            help="The age at which a checkpoint gets a compressed state of its own.",
        ),
        click.option(
            "--checkpoints-max",
            type=click.IntRange(1),
            default=20,
            show_default=True,
            metavar="N",
            help="How many checkpoints an agent keeps; automatic ones go first.",
        ),
        click.option(
            "--checkpoints-keep",
            type=DURATION,
            default="7d",
            show_default=True,
            metavar="DURATION",
            help="How long checkpoints are kept.",
        ),
        click.option(
            "--snapshots-keep",
            type=DURATION,
            default="24h",
            show_default=True,
            metavar="DURATION",
            help="How long every version of an agent can be had back.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@dry_run_option
@policy_options
@yes_option
@reason_option
@json_option
@click.pass_context
def prune(
    ctx: click.Context,
    /,
    dry_run: bool,
    yes: bool,
    reason: str,
    as_json: bool,
    **periods: Any,
) -> None:
    """Delete what is not to be kept any more.

    Shows what goes: bytes, and the versions that can no longer be had back, for each agent and in
    all. What is left is enough for every version younger than --snapshots-keep, every checkpoint,
    every fork, and the newest state of every agent, deleted ones' heads among them. Where it cannot
    ask, it takes --yes to do anything. Exits with 1 if something was left to another pass.
    """
    quiet("headwater.kafka", "headwater.recovery")
    config, retention = _retention(periods)
    try:
        now_ms = wall_ms()
        plan = retention.plan(now_ms)
        shown = _json(plan)
        if not as_json:
            _print(shown, dry_run)
        if dry_run or not _anything(shown):
            if as_json:
                emit_json({**shown, "dry_run": dry_run, "done": False})
            return
        consent("Delete this for good?", yes=yes)
        done = retention.run(now_ms, measure=True)
        what = "records were deleted for good"
        keep_in_audit(config, "pruned", "fleet", what, reason, _figures(done.plan.total))
    finally:
        retention.close()
    result = {
        **_json(done.plan),
        "dry_run": False,
        "done": True,
        "reason": reason,
        "held": done.held,
        "held_bytes": done.held_bytes,
        "left": [{"agent_id": a, "checkpoint_id": c, "why": why} for a, c, why in done.failed],
        "partitions_left": done.overtaken,
    }
    if as_json:
        emit_json(result)
    else:
        _conclude(result)
    ctx.exit(Exit.FAILED if done.failed or done.overtaken else Exit.OK)


@click.command()
@click.option(
    "--interval",
    type=DURATION,
    default="5m",
    show_default=True,
    metavar="DURATION",
    help="How long from one pass to the next.",
)
@policy_options
def retain(interval: timedelta, **periods: Any) -> None:
    """Run retention: prune again and again.

    One instance is enough for a cluster; of several, one acts at a time. SIGTERM and Ctrl-C end it
    in order, and whatever ends it, the next pass completes what it had begun.
    """
    load_app("consumers.retention.app").run(
        load_config(), policy=_policy(periods), interval=interval
    )


def _policy(periods: dict[str, Any]) -> Any:
    return load_app("consumers.retention").Policy(
        history=periods["snapshots_keep"],
        checkpoints_keep=periods["checkpoints_keep"],
        checkpoints_max=periods["checkpoints_max"],
        compress_after=periods["compress_after"],
    )


def _retention(periods: dict[str, Any]) -> tuple[Config, Any]:
    config = load_config()
    partitions = connect(config)
    return config, load_app("consumers.retention").Retention(config, partitions, _policy(periods))


def _anything(shown: dict[str, Any]) -> bool:
    total = shown["total"]
    return bool(total["records"] or total["events"] or shown["checkpoints_to_hold"]) or any(
        part["low_water"] > part["events_start"] for part in shown["partitions"]
    )


def _json(plan: Any) -> dict[str, Any]:
    return {
        "total": _figures(plan.total),
        "agents": [
            {"agent_id": name, **_figures(each)} for name, each in sorted(plan.agents.items())
        ],
        "partitions": [
            {
                "partition": part.partition,
                "events_start": part.events_start,
                "low_water": part.low_water,
                "because": part.because,
            }
            for part in plan.partitions
        ],
        "checkpoints_to_hold": sum(len(part.holds) for part in plan.partitions),
        "kept_for": dict(sorted(plan.reasons.items())),
        "overdue": plan.overdue,
    }


def _figures(each: Any) -> dict[str, Any]:
    return {
        "bytes": each.size + each.events_size,
        "records": each.records,
        "record_bytes": each.size,
        "events": each.events,
        "event_bytes": each.events_size,
        "points_lost": each.points,
        "checkpoints_lost": each.checkpoints,
    }


def _print(shown: dict[str, Any], dry_run: bool) -> None:
    if shown["agents"]:
        emit_table(
            ["ID", "BYTES", "RECORDS", "EVENTS", "VERSIONS LOST", "CHECKPOINTS LOST"],
            [
                [
                    row["agent_id"],
                    size(row["bytes"]),
                    row["records"],
                    row["events"],
                    row["points_lost"],
                    len(row["checkpoints_lost"]),
                ]
                for row in shown["agents"]
            ],
        )
    total, verb = shown["total"], "would go" if dry_run else "go"
    versions = counted(total["points_lost"], "version")
    checkpoints = counted(len(total["checkpoints_lost"]), "checkpoint")
    say(
        f"{size(total['bytes'])} {verb}: {counted(total['records'], 'record')}, "
        f"{counted(total['events'], 'event')}; with them {versions} and {checkpoints} that can be "
        "had back now"
    )
    if shown["checkpoints_to_hold"]:
        count = counted(shown["checkpoints_to_hold"], "checkpoint")
        say(f"{count} get a state of their own, so that the rest can go without them")
    for name in shown["overdue"]:
        say(f"{name} keeps events: a checkpoint of it cannot be read without them")


def _conclude(result: dict[str, Any]) -> None:
    say(f"done: {size(result['total']['bytes'])} are free to go")
    for each in result["left"]:
        say(f"{each['agent_id']} keeps what {each['checkpoint_id']} needs: {each['why']}")
    if result["partitions_left"]:
        left = ", ".join(map(str, result["partitions_left"]))
        say(f"partitions {left} were left: somebody began to need what was to go; prune again")
