"""``headwater insights``: metrics of the fleet."""

from __future__ import annotations

from datetime import timedelta

import click

from headwater.cli.context import environment, load_config
from headwater.cli.durations import DURATION
from headwater.loader import load_app


@click.command()
@click.option(
    "--window",
    type=DURATION,
    default="5s",
    show_default=True,
    help="Length of the tumbling windows.",
)
@click.option(
    "--sliding",
    type=DURATION,
    default="1m",
    show_default=True,
    help="Length of the sliding windows, one of which begins with each tumbling one.",
)
def insights(window: timedelta, sliding: timedelta) -> None:
    """Publish metrics of the fleet: how many agents, steps, errors, how long steps take.

    For each node, each kind of agent and the fleet, in windows of time, to the topic `metrics`,
    from which the detectors tell what is slower than usual. Any number of instances, of the same
    windows, take each other's place. Each is supervised: what ends or hangs is started again.
    """
    try:
        windows = load_app("streams.insights.board").Windows(
            pane_ms=_ms(window), sliding_ms=_ms(sliding), keep_ms=max(300_000, 3 * _ms(sliding))
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    load_app("streams.insights.supervisor").run(load_config(), environment(), windows)


def _ms(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)
