"""``headwater detect``: one detector of failures."""

from __future__ import annotations

from datetime import timedelta

import click

from headwater.cli.context import load_config
from headwater.cli.durations import DURATION
from headwater.loader import load_app


@click.command()
@click.option(
    "--audit-after",
    type=DURATION,
    default="10s",
    show_default=True,
    help="When the first look at the states of agents is due.",
)
def detect(audit_after: timedelta) -> None:
    """Detect failures of nodes, agents and states, and report them to the recovery topic.

    Any number of detectors share the work: each failure is reported by one of them, and when that
    one is gone, by another. SIGTERM and Ctrl-C end it in order.
    """
    load_app("consumers.detectors.app").run(load_config(), audit_after=audit_after)
