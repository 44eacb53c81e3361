"""``headwater doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from headwater.cli.context import as_json as json_option
from headwater.cli.context import load_config, quiet
from headwater.cli.errors import Exit
from headwater.cli.output import emit_json, plain_text, say
from headwater.config import Config

if TYPE_CHECKING:
    from headwater.cli.diagnosis import Finding

_PATIENCE = timedelta(seconds=5)
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command()
@click.option("--fix", is_flag=True, help="Make the topics that are missing.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, /, fix: bool, as_json: bool) -> None:
    """Find what is wrong, and say what to do.

    Looks at versions, Kafka, topics and their settings, the compactor and its lag, parked
    partitions, refused records and dead letters. Exits with 1 if there is a problem; a warning is
    none.
    """
    from headwater.cli.diagnosis import diagnose

    quiet("headwater.kafka")
    config = load_config()
    config = config.with_(read_timeout=min(config.read_timeout, _PATIENCE))
    if fix:
        _make_topics(config)
    findings = list(diagnose(config))
    bad = any(finding.level == "problem" for finding in findings)
    if as_json:
        emit_json({"ok": not bad, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _print(finding)
    ctx.exit(Exit.FAILED if bad else Exit.OK)


def _make_topics(config: Config) -> None:
    from headwater.cli.diagnosis import missing_topics
    from headwater.errors import HeadwaterError
    from headwater.topics import connect_topics

    try:
        if missing := missing_topics(config):
            say(f"Making topics: {', '.join(missing)}")
            connect_topics(config.with_(create_topics=True))
        else:
            say("No topic is missing: nothing to make.")
    except HeadwaterError as error:
        say(str(error))  # the diagnosis says the rest


def _print(finding: Finding) -> None:
    mark = click.style(finding.level.ljust(7), fg=_COLOURS[finding.level])
    click.echo(f"{mark}  {finding.check}: {plain_text(finding.message)}")
    if finding.advice:
        click.echo(f"         -> {plain_text(finding.advice)}")
