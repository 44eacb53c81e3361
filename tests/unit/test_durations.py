"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.durations import format_duration, parse_duration
from headwater.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("24h", 86_400), ("7d", 604_800), (" 1.5 h ", 5400),
     ("90", 90), ("0", 0)],
)  # fmt: skip
def test_each_unit_means_what_it_says(text: str, seconds: float) -> None:
    """A number alone means seconds."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5 weeks", "-3s", "m", "1e3s", "9" * 400 + "d"])
def test_anything_else_is_refused(text: str) -> None:
    """With an example of what is meant."""
    with pytest.raises(ConfigError, match="500ms"):
        parse_duration(text)


@given(st.integers(0, 10**11))
def test_what_is_formatted_is_read_back(ms: int) -> None:
    """To the millisecond."""
    duration = timedelta(milliseconds=ms)
    assert parse_duration(format_duration(duration)) == duration
