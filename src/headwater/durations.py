"""Durations as people write them: ``500ms``, ``30s``, ``5m``, ``24h``, ``7d``."""

from __future__ import annotations

import re
from datetime import timedelta

from headwater.errors import ConfigError

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*")


def parse_duration(text: str) -> timedelta:
    """The duration that a text means; a number alone means seconds.

    Raises :class:`ConfigError` for anything else.
    """
    found = _FORM.fullmatch(text)
    try:
        if found is not None:
            return timedelta(milliseconds=float(found[1]) * _UNITS[found[2] or "s"])
    except OverflowError:
        pass
    raise ConfigError(f"{text!r} is no duration; write it like 500ms, 30s, 5m, 24h or 7d")


def format_duration(duration: timedelta) -> str:
    """A text that means ``duration``, to the millisecond."""
    ms = round(duration.total_seconds() * 1000)
    for unit in ("d", "h", "m", "s"):
        if ms and ms % _UNITS[unit] == 0:
            return f"{ms // _UNITS[unit]}{unit}"
    return f"{ms}ms"
