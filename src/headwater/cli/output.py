"""How results look: JSON, tables, times; nothing that a stored text says can steer a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from headwater.recovery.layers import Attempt

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_MEGABYTE = 1_000_000


def emit_json(value: Any) -> None:
    """Print one JSON value."""
    ascii_only = (click.get_text_stream("stdout").encoding or "").lower() not in ("utf-8", "utf8")
    click.echo(json.dumps(value, indent=2, ensure_ascii=ascii_only, allow_nan=False))


def say(text: str) -> None:
    """Talk, on stderr."""
    click.echo(text, err=True)


def plain_text(value: object) -> str:
    """A value in one line, its control characters written out."""
    return str(value).translate(_CONTROL)


def emit_table(headings: Sequence[str], rows: Iterable[Sequence[object]], right: str = "") -> None:
    """Print rows under their headings; ``right`` names the columns of numbers.

    Into a pipe: the same columns, padded, never cut off and without headings' styles.
    """
    cells = [[plain_text(cell) for cell in row] for row in rows]
    numbers = set(right.split())
    if not sys.stdout.isatty():
        _emit_columns([list(headings), *cells], [name in numbers for name in headings])
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in headings:
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table)


def _emit_columns(rows: list[list[str]], right: list[bool]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def emit_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, a line each."""
    for name, value in pairs:
        click.echo(f"{click.style(name.ljust(11), bold=True)} {plain_text(value)}")


def utc(milliseconds: int) -> str | None:
    """Milliseconds since 1970 as ISO text in UTC; None for what is no date."""
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_time(milliseconds: int) -> str:
    """Milliseconds since 1970 on this machine's clock, to the second."""
    text = utc(milliseconds)
    if text is None:
        return str(milliseconds)
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"


def size(size_bytes: int) -> str:
    """Bytes, for people."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    if size_bytes < _MEGABYTE:
        return f"{size_bytes / 1000:.1f} kB"
    return f"{size_bytes / _MEGABYTE:.1f} MB"


def counted(number: int, what: str) -> str:
    """``1 agent``, ``2 agents``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class Advance(Protocol):
    """Says how far a long piece of work has come."""

    def __call__(self, text: str) -> None:
        """Show ``text`` in the place of the text before it."""


@contextmanager
def progress() -> Iterator[Advance]:
    """A line on stderr that is written anew as the work goes on; nothing into a pipe."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(plain_text(text))


def attempts(tried: Iterable[Attempt]) -> list[dict[str, Any]]:
    """What a recovery tried, as JSON."""
    return [{"layer": t.layer, "version": t.version, "refused": t.refused} for t in tried]
