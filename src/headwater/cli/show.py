"""``headwater show``: one agent's state and head."""

from __future__ import annotations

import sys
from typing import Any

import click

from headwater.cli.context import agent_argument, load_config, reading
from headwater.cli.context import as_json as json_option
from headwater.cli.errors import Exit
from headwater.cli.output import emit_fields, emit_json


@click.command()
@agent_argument("agent_id")
@click.option(
    "--field",
    metavar="PATH",
    help="Only this part of the state: status, data.plan, messages[-1].content ...",
)
@json_option
def show(agent_id: str, field: str | None, as_json: bool) -> None:
    """Show an agent's state.

    As of the end of the log; it may change meanwhile. JSON writes what JSON has no form for as
    tagged values, such as {"$datetime": "2026-01-02T03:04:05+00:00"}.
    """
    from headwater.cli.tagged import to_tagged
    from headwater.log.records import check_agent_id

    with reading(load_config()) as recovery:
        found = recovery.recover(check_agent_id(agent_id))
    document: Any = found.agent.document
    if field is not None:
        value = look_up(document, field)
        if as_json:
            emit_json(to_tagged(value))
        elif isinstance(value, str) and not sys.stdout.isatty():
            click.echo(value)
        else:
            _pretty(value)
        return
    from headwater.cli.heads import head_fields, head_json

    if as_json:
        hashes = {"state_hash": found.state_hash.hex(), "inapplicable": found.inapplicable}
        emit_json({**head_json(found.head), **hashes, "state": to_tagged(document)})
        return
    emit_fields([*head_fields(found.head), ("state", found.state_hash.hex())])
    click.echo()
    _pretty(document)


def look_up(value: Any, path: str) -> Any:
    """The part of ``value`` at ``path``: keys after dots, positions in brackets.

    A key may hold dots and brackets itself: the longest key that fits is taken.
    """
    rest = path
    while rest:
        if isinstance(value, dict):
            rest = rest.removeprefix(".")
            fitting = [key for key in value if _begins(rest, key)]
            if not fitting:
                raise _nothing(path, f"it has {', '.join(map(repr, value)) or 'no keys'} there")
            key = max(fitting, key=len)
            value, rest = value[key], rest[len(key) :]
        elif isinstance(value, list | tuple) and rest.startswith("["):
            number, closed, rest = rest[1:].partition("]")
            try:
                value = value[int(number)]
            except (ValueError, IndexError):
                raise _nothing(path, f"it has {len(value)} items there") from None
            if not closed:
                raise _nothing(path, "a ] is missing")
        else:
            raise _nothing(path, f"a {type(value).__name__} has no {rest!r}")
    return value


def _begins(path: str, key: str) -> bool:
    return path.startswith(key) and path[len(key) :][:1] in ("", ".", "[")


def _nothing(path: str, why: str) -> click.ClickException:
    error = click.ClickException(f"the state has nothing at {path!r}: {why}")
    error.exit_code = Exit.NOT_FOUND
    return error


def _pretty(value: Any) -> None:
    # Python's notation tells every type apart, and writes control characters out.
    from rich.console import Console
    from rich.pretty import Pretty, pretty_repr

    if sys.stdout.isatty():
        Console().print(Pretty(value, expand_all=False))
    else:
        click.echo(pretty_repr(value, max_width=100))
