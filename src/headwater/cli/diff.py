"""``headwater diff``: what is different between two moments of an agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headwater.cli.context import agent_argument, load_config, quiet, reading
from headwater.cli.context import as_json as json_option
from headwater.cli.errors import Exit
from headwater.cli.moments import MOMENT, WithMoments
from headwater.cli.output import emit_json, say

if TYPE_CHECKING:
    from headwater.state.compare import Difference, Place

_WIDTH = 100
_MARKS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


@click.command(cls=WithMoments)
@agent_argument("agent_id")
@click.argument("a", metavar="A", type=MOMENT)
@click.argument("b", metavar="B", type=MOMENT)
@click.option("--long", "whole", is_flag=True, help="Show values whole, however long.")
@json_option
@click.pass_context
def diff(ctx: click.Context, /, agent_id: str, a: Any, b: Any, whole: bool, as_json: bool) -> None:
    """Show what is different at B from what was at A.

    A and B are moments: a version (42), a time (2026-03-01T09:00, or "10m ago"), or the id of a
    checkpoint or snapshot. Exits with 0 where nothing differs, with 1 where something does.
    """
    from headwater.log.records import check_agent_id
    from headwater.recovery.travel import at
    from headwater.state.compare import compare

    check_agent_id(agent_id)
    quiet("headwater.recovery")
    with reading(load_config()) as recovery:
        before, after = at(recovery, agent_id, a), at(recovery, agent_id, b)
    documents = before.agent.document, after.agent.document
    found = compare(*documents, before=before.version, after=after.version)
    for warning in dict.fromkeys(before.warnings + after.warnings):
        say(warning)
    if as_json:
        emit_json({"agent_id": agent_id, **difference_json(found)})
    else:
        print_difference(found, whole=whole)
    ctx.exit(Exit.FAILED if found else Exit.OK)


def print_difference(found: Difference, *, whole: bool = False) -> None:
    """A line for each place, and what it comes to on stderr."""
    width = None if whole else _WIDTH
    for place in found.places:
        mark, colour = _MARKS[place.kind]
        click.echo(click.style(f"{mark} {_line(place, width)}", fg=colour))
    say(f"version {found.before} to {found.after}: {found.description}")


def _line(place: Place, width: int | None) -> str:
    name = place.name.encode("unicode_escape").decode("ascii")
    if place.kind == "removed":
        return f"{name}: {_short(place.old, width)}"
    if place.grown is not None:
        return f"{name}: ... + {_short(place.grown, width)}"
    if place.kind == "added":
        return f"{name}: {_short(place.new, width)}"
    return f"{name}: {_short(place.old, width)} -> {_short(place.new, width)}"


def _short(value: Any, width: int | None) -> str:
    # Python's notation tells types apart, and writes control characters out.
    text = repr(value)
    return text if width is None or len(text) <= width else f"{text[: width - 4]} ..."


def difference_json(found: Difference) -> dict[str, Any]:
    """A difference as JSON; values tagged as in ``show --json``."""
    from headwater.cli.tagged import to_tagged

    return {
        "before": found.before,
        "after": found.after,
        "same": not found,
        "description": found.description,
        "places": [
            {
                "path": list(place.path),
                "kind": place.kind,
                "old": to_tagged(place.old),
                "new": to_tagged(place.new),
            }
            for place in found.places
        ],
        "new_messages": [to_tagged(message) for message in found.new_messages],
    }
