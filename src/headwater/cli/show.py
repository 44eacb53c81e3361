"""``headwater show``: one agent's state and head."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.context import agent_argument, load_config, quiet, reading
from headwater.cli.context import as_json as json_option
from headwater.cli.errors import Exit
from headwater.cli.moments import MOMENT
from headwater.cli.output import emit_fields, emit_json, say

if TYPE_CHECKING:
    from headwater.recovery import Recovered


@click.command()
@agent_argument("agent_id")
@click.option(
    "--field",
    metavar="PATH",
    help="Only this part of the state: status, data.plan, messages[-1].content ...",
)
@click.option(
    "--at",
    "moment",
    type=MOMENT,
    metavar="MOMENT",
    help="As it was then: a version, a time, or the id of a checkpoint or snapshot.",
)
@json_option
def show(agent_id: str, field: str | None, moment: Any, as_json: bool) -> None:
    """Show an agent's state.

    As of the end of the log; it may change meanwhile. JSON writes what JSON has no form for as
    tagged values, such as {"$datetime": "2026-01-02T03:04:05+00:00"}.
    """
    from headwater.cli.tagged import to_tagged

    found = _find(agent_id, moment)
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
    if as_json:
        hashes = {"state_hash": found.state_hash.hex(), "inapplicable": found.inapplicable}
        head = _head_json(found, past=moment is not None)
        emit_json({**head, **hashes, "state": to_tagged(document)})
        return
    fields = _head_fields(found, past=moment is not None)
    emit_fields([*fields, ("state", found.state_hash.hex())])
    click.echo()
    _pretty(document)


def _find(agent_id: str, moment: Any) -> Recovered:
    from headwater.log.records import check_agent_id

    check_agent_id(agent_id)
    if moment is not None:
        quiet("headwater.recovery")
    with reading(load_config()) as recovery:
        if moment is None:
            return recovery.recover(agent_id)
        from headwater.recovery.travel import at

        found = at(recovery, agent_id, moment)
    for warning in found.warnings:
        say(warning)
    return found


def _head_json(found: Recovered, *, past: bool) -> dict[str, Any]:
    from headwater.cli.heads import head_json

    if not past:
        return head_json(found.head)
    # Of a head in the past only this much is known for certain.
    return {"agent_id": found.agent_id, "version": found.version, "warnings": list(found.warnings)}


def _head_fields(found: Recovered, *, past: bool) -> list[tuple[str, object]]:
    from headwater.cli.heads import head_fields

    fields = head_fields(found.head)
    return fields[:2] if past else fields


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
