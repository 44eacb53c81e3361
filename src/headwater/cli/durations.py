"""Durations as options."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from headwater.durations import parse_duration
from headwater.errors import ConfigError


class Duration(click.ParamType):
    """An option's value such as ``30s``, ``5m`` or ``7d``; positive."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The :class:`timedelta` that a text means."""
        if isinstance(value, timedelta):
            return value
        try:
            duration = parse_duration(str(value))
        except ConfigError as error:
            self.fail(str(error), param, ctx)
        if duration <= timedelta(0):
            self.fail(f"{value!r} must be more than nothing", param, ctx)
        return duration


DURATION = Duration()
