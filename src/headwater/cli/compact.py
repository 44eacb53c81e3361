"""``headwater compact``: one instance of the compactor."""

from __future__ import annotations

import click

from headwater.cli.context import load_config
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
    type=click.Choice(["outweigh", "chain-length"]),
    default="outweigh",
    show_default=True,
    help="What decides between full snapshots, increments and merging them.",
)
@click.option("--json-stats", is_flag=True, help="Print what was done as JSON at the end.")
def compact(commit_interval_ms: int, strategy: str, json_stats: bool) -> None:
    """Run the compactor.

    It turns the log of events into snapshots, without which agents would be recovered from all
    that they ever did. Any number of instances share the partitions. SIGTERM and Ctrl-C end it in
    order: what is pending is committed, and the others take over.
    """
    app = load_app("streams.snapshots.app")
    app.run(
        load_config(),
        commit_interval_ms=commit_interval_ms,
        strategy=strategy,
        json_stats=json_stats,
    )
