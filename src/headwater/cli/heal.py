"""``headwater heal``: one handler of failures."""

from __future__ import annotations

import click

from headwater.cli.context import load_config
from headwater.loader import load_app


@click.command()
@click.option(
    "--webhook",
    "webhooks",
    metavar="URL",
    multiple=True,
    envvar="HEADWATER_WEBHOOK",
    help="Post escalations there, as to Alertmanager; may be given again.",
)
@click.option(
    "--notify-command",
    "commands",
    metavar="COMMAND",
    multiple=True,
    help="Run this for each escalation, which it gets as JSON on stdin; may be given again.",
)
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    metavar="N",
    help="How often a strategy tries before a person is asked.",
)
@click.option(
    "--quarantine-after",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    metavar="N",
    help="Move an agent no more once it brought down so many nodes in a row; 0: always move it.",
)
def heal(
    webhooks: tuple[str, ...], commands: tuple[str, ...], attempts: int, quarantine_after: int
) -> None:
    """Put failures right that detectors report, and tell a person of what cannot be.

    Any number of handlers share the work; what one has begun when it ends, another one goes on
    with. SIGTERM and Ctrl-C end it in order.
    """
    load_app("consumers.strategies.app").run(
        load_config(),
        webhooks=webhooks,
        commands=commands,
        attempts=attempts,
        quarantine_after=quarantine_after,
    )
