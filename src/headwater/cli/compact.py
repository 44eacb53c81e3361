"""``headwater compact``: one instance of the compactor."""

from __future__ import annotations

from typing import Any

import click

from headwater.cli.context import load_config
from headwater.cli.durations import DURATION
from headwater.loader import load_app


@click.command()
@click.option(
    "--commit-interval-ms",
    type=click.IntRange(1, 60_000),
    default=250,
    show_default=True,
    help="At most this long between commits of a partition that has something new.",
)
@click.option(
    "--strategy",
    type=click.Choice(["outweigh", "chain-length", "budget"]),
    default="outweigh",
    show_default=True,
    help="What decides between full snapshots, increments and merging them.",
)
@click.option(
    "--rto-ms",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="The recovery time that --strategy budget keeps to.",
)
@click.option(
    "--checkpoint-trigger",
    type=click.Choice(["time", "state", "step", "hybrid", "off"]),
    default="time",
    envvar="HEADWATER_CHECKPOINT_TRIGGER",
    show_default=True,
    help="What makes automatic checkpoints: time, a new status, a step milestone, any of these.",
)
@click.option(
    "--checkpoint-interval",
    type=DURATION,
    default="5m",
    envvar="HEADWATER_CHECKPOINT_INTERVAL",
    show_default=True,
    help="How long after an agent changed it gets its checkpoint by time.",
)
@click.option(
    "--checkpoint-steps",
    type=click.IntRange(min=1),
    metavar="N",
    default=10,
    envvar="HEADWATER_CHECKPOINT_STEPS",
    show_default=True,
    help="Steps that are a multiple of this are milestones.",
)
@click.option("--json-stats", is_flag=True, help="Print what was done as JSON at the end.")
def compact(strategy: str, rto_ms: float | None, **options: Any) -> None:
    """Run the compactor.

    It turns the log of events into snapshots, without which agents would be recovered from all
    that they ever did. Any number of instances share the partitions. SIGTERM and Ctrl-C end it in
    order: what is pending is committed, and the others take over.
    """
    if (strategy == "budget") != (rto_ms is not None):
        raise click.UsageError("--strategy budget needs --rto-ms, and no other takes it")
    app = load_app("streams.snapshots.app")
    app.run(load_config(), strategy=strategy, rto_ms=rto_ms, **options)
