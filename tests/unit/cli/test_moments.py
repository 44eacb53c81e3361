"""Moments as they are written on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import click
import pytest
from click.testing import CliRunner

from headwater.cli.moments import MOMENT, WithMoments, parse_moment

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("42", 42),
        ("v0", 0),
        ("10m ago", NOW - timedelta(minutes=10)),
        ("-1.5h", NOW - timedelta(minutes=90)),
        ("- 2d", "- 2d"),
        ("2026-02-28T23:00:00Z", datetime(2026, 2, 28, 23, tzinfo=UTC)),
        ("2026-03-01T01:00+01:00", datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=1)))),
        ("automatic-42", "automatic-42"),
        ("10-12", "10-12"),
        ("v", "v"),
    ],
)
def test_a_text_means_a_version_a_time_or_an_id(text: str, moment: Any) -> None:
    """Each form means what the documentation says, and anything else is an id."""
    assert parse_moment(text, lambda: NOW) == moment


def test_a_time_without_a_zone_is_local() -> None:
    """What a person reads off a clock on the wall."""
    found = parse_moment("2026-03-01T09:00", lambda: NOW)
    assert isinstance(found, datetime)
    assert found == datetime(2026, 3, 1, 9).astimezone()


def test_a_moment_that_begins_with_a_dash_is_no_option() -> None:
    """It can be an argument, and options stay options."""
    seen: list[Any] = []

    @click.command(cls=WithMoments)
    @click.argument("moment", type=MOMENT)
    @click.option("--loud", is_flag=True)
    def command(moment: Any, loud: bool) -> None:
        seen.append((type(moment), loud))

    assert CliRunner().invoke(command, ["-10m", "--loud"]).exit_code == 0
    assert seen == [(datetime, True)]
    assert CliRunner().invoke(command, ["10 lightyears ago"]).exit_code == 2
    assert CliRunner().invoke(command, ["42", "--lout"]).exit_code == 2
