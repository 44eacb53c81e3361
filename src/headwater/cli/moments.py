"""Moments of an agent's past on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from headwater.durations import parse_duration
from headwater.errors import ConfigError

_VERSION = re.compile(r"v?(\d+)")
_AGO = re.compile(r"-(?P<minus>[\d.]+\s*\w*)|(?P<ago>[\d.]+\s*\w*)\s+ago")


def parse_moment(text: str, now: Callable[[], datetime]) -> int | datetime | str:
    """What a text means: ``42`` or ``v42`` a version, ``10m ago`` or ``-10m`` a time before
    ``now()``, ISO text a time (local where it has no zone); anything else is an id.

    Raises :class:`ConfigError` for a duration that is none.
    """
    text = text.strip()
    if match := _VERSION.fullmatch(text):
        return int(match[1])
    if match := _AGO.fullmatch(text):
        try:
            return now() - parse_duration(match["minus"] or match["ago"])
        except OverflowError as error:
            raise ConfigError(f"{text!r} is too long ago") from error
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment.astimezone() if moment.tzinfo is None else moment


class Moment(click.ParamType):
    """A version, a time, or the id of a checkpoint or snapshot."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The moment that a text means."""
        if not isinstance(value, str):
            return value
        try:
            return parse_moment(value, lambda: datetime.now(UTC))
        except ConfigError as error:
            self.fail(str(error), param, ctx)


MOMENT = Moment()


class WithMoments(click.Command):
    """A command among whose arguments ``-10m`` is a moment, and no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write ``-10m`` as ``10m ago`` before options are looked for."""
        return super().parse_args(ctx, [_not_an_option(each) for each in args])


def _not_an_option(argument: str) -> str:
    return f"{argument[1:]} ago" if re.match(r"-\d", argument) else argument


def shown(moment: int | datetime | str) -> str:
    """A moment, for people."""
    if isinstance(moment, int):
        return f"version {moment}"
    return moment.isoformat(timespec="seconds") if isinstance(moment, datetime) else repr(moment)
