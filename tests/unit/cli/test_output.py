"""How results are printed."""

from __future__ import annotations

import pytest

from headwater.cli.output import counted, emit_table, plain_text, size, utc


def test_columns_into_a_pipe_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is cut off or wrapped, numbers end at the right, and no line ends with blanks."""
    emit_table(["ID", "SIZE"], [["a" * 300, 5], ["b", 10]], right="SIZE")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "a" * 300 + "     5"
    assert lines[2] == "b".ljust(300) + "    10"


def test_stored_text_cannot_steer_the_terminal() -> None:
    """Control characters are written out."""
    assert plain_text("a\x1b[2J\nb\x9b") == "a\\x1b[2J\\x0ab\\x9b"


def test_times_that_are_none_do_not_break_a_table() -> None:
    """A writer's clock may say anything."""
    assert utc(0) == "1970-01-01T00:00:00.000Z"
    assert utc(2**62) is None


def test_words_for_numbers() -> None:
    """Sizes and counts read well."""
    assert (size(999), size(1500), size(2_500_000)) == ("999 B", "1.5 kB", "2.5 MB")
    assert (counted(1, "agent"), counted(0, "agent")) == ("1 agent", "0 agents")
