"""What commands that change something share: a connection that writes, and the question."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.context import connect, load_config, quiet
from headwater.cli.output import plain_text, say

if TYPE_CHECKING:
    from headwater.client import Client
    from headwater.config import Config

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be done, and do nothing."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
reason_option = click.option(
    "--reason", default="", metavar="TEXT", help="Why; it is kept in the log."
)


def changing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that changes something."""
    return dry_run_option(yes_option(command))


@contextmanager
def writing() -> Iterator[Client]:
    """A connection that may write, to topics that are there.

    Raises :class:`NothingYet` on a cluster without any of Headwater's topics.
    """
    from headwater.client import Client

    quiet("headwater.kafka", "headwater.recovery")
    config = load_config()
    connect(config)
    client = Client(config.with_(create_topics=False))
    try:
        yield client
    finally:
        client.close()


def user() -> str:
    """Who uses the command, as the audit names them; some containers know no names."""
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"user:{os.getuid()}"


def keep_in_audit(
    config: Config, action: str, component: str, message: str, reason: str, detail: dict[str, Any]
) -> None:
    """Have the audit say what was done here."""
    from headwater.fleet.audit import audit
    from headwater.fleet.feed import Sender
    from headwater.topics import connect_fleet

    connect_fleet(config)
    sender = Sender(config)
    try:
        sender.settle(
            audit(sender, user(), action, component, message=message, reason=reason, detail=detail)
        )
    finally:
        sender.close()


def go_on(what: str, *, dry_run: bool, yes: bool) -> bool:
    """Say what will be done, and whether to do it; for what can be undone: asks on a terminal."""
    say(plain_text(what))
    if not (dry_run or yes) and sys.stdin.isatty():
        click.confirm("Go on?", abort=True, err=True)
    return not dry_run


def consent(question: str, *, yes: bool) -> None:
    """Go on if the user says so; for what cannot be undone: without a terminal only ``--yes``
    says so.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("there is nobody to ask: say --yes")
    click.confirm(question, abort=True, err=True)
