"""``headwater replay``: what agents have recorded, through new code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.context import agent_argument, load_config, reading
from headwater.cli.context import as_json as json_option
from headwater.cli.errors import NothingYet
from headwater.cli.output import counted, emit_json, emit_table, plain_text, progress, say
from headwater.cli.recover import failed_with
from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from headwater.recovery import Failed
    from headwater.recovery.rehearse import Rehearsed
    from headwater.state.compare import Place

_MOST_PLACES = 10
_MOST_CHARACTERS = 60


@click.command()
@agent_argument("agent_ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Replay every agent.")
@click.option(
    "--through",
    required=True,
    metavar="MODULE:FUNCTION",
    help="The new code: function(state, event) returns the state that it makes, or changes it.",
)
@json_option
@click.pass_context
def replay(
    ctx: click.Context, /, agent_ids: tuple[str, ...], everything: bool, through: str, as_json: bool
) -> None:
    """Run recorded events through new code, and compare.

    A rehearsal before an upgrade: tells the first version at which an agent would have another
    state, and what is different there. Nothing is written. Exits with 0 where all come out the
    same, 1 where one does not or the code fails, 3 where an agent is not in the log.
    """
    if bool(agent_ids) == everything:
        raise click.UsageError("name agents, or say --all")
    function = load_function(through)
    rows, failures = [], []
    for found in _rehearsed(None if everything else agent_ids, function):
        rows.append(_json(found))
        if rows[-1]["outcome"] != "same":
            failures.append(found)
        if not as_json:
            _tell(found)
    if as_json:
        emit_json(rows)
    else:
        _print(rows)
    ctx.exit(failed_with(failures))


def load_function(name: str) -> Callable[..., Any]:
    """The function of a name like ``package.module:function``, looked for from here as well."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise click.UsageError(f"--through takes MODULE:FUNCTION, not {name!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        said = traceback.format_exception_only(error)[-1].strip()
        raise click.UsageError(f"--through {name}: {said}") from error
    if not callable(found):
        raise click.UsageError(f"--through {name}: that is a {type(found).__name__}, no function")
    return found  # type: ignore[no-any-return]


def _rehearsed(
    agent_ids: tuple[str, ...] | None, function: Callable[..., Any]
) -> Iterator[Rehearsed | Failed]:
    from headwater.log.records import check_agent_id
    from headwater.recovery.rehearse import rehearse

    try:
        with reading(load_config()) as recovery, progress() as advance:
            wanted = None if agent_ids is None else [check_agent_id(each) for each in agent_ids]
            yield from rehearse(
                recovery,
                wanted,
                function,
                lambda partition, records: advance(f"partition {partition}: {records} records"),
            )
    except NothingYet as error:
        if agent_ids is not None:
            raise
        say(str(error))


def _json(found: Rehearsed | Failed) -> dict[str, Any]:
    from headwater.recovery import Failed

    if isinstance(found, Failed):
        row = {"agent_id": found.agent_id, "outcome": "failed", "version": None}
        return {**row, "error": str(found.error), "kind": type(found.error).__name__}
    outcome = "same" if found.same else "failed" if found.error else "different"
    return {
        "agent_id": found.agent_id,
        "outcome": outcome,
        "from_version": found.from_version,
        "version": found.version,
        "events": found.events,
        "different_at": found.different_at,
        "recorded_hash": found.recorded_hash.hex() if found.recorded_hash else None,
        "state_hash": found.state_hash.hex() if found.state_hash else None,
        "difference": _difference(found),
        "error": found.error,
    }


def _difference(found: Rehearsed) -> list[dict[str, Any]] | None:
    from headwater.cli.tagged import to_tagged

    if found.difference is None:
        return None
    return [
        {
            "place": place.name,
            "kind": place.kind,
            "recorded": to_tagged(place.old),
            "new": to_tagged(place.new),
        }
        for place in found.difference.places
    ]


def _tell(found: Rehearsed | Failed) -> None:
    """What is wrong with one agent, on stderr."""
    agent_id = plain_text(found.agent_id)
    if isinstance(found.error, HeadwaterError):
        say(f"{agent_id} FAILED: {found.error}")
    elif found.error is not None:
        where = getattr(found, "different_at", None)
        at = "" if where is None else f" at version {where}"
        say(f"{agent_id} FAILED{at}:\n{found.error}")
    else:
        _tell_difference(agent_id, found)


def _tell_difference(agent_id: str, found: Any) -> None:
    if found.difference is None:
        return
    places = found.difference.places
    say(f"{agent_id} is DIFFERENT from version {found.different_at} on:")
    for place in places[:_MOST_PLACES]:
        say(f"  {plain_text(place.name)}: {_shown(place)}")
    if len(places) > _MOST_PLACES:
        say(f"  and {counted(len(places) - _MOST_PLACES, 'place')} more")


def _shown(place: Place) -> str:
    old, new = _brief(place.old), _brief(place.new)
    if place.kind == "added":
        return f"new code adds {new}"
    if place.kind == "removed":
        return f"new code lacks {old}"
    if place.grown is not None:
        return f"new code adds {_brief(place.grown)} at its end"
    return f"recorded {old}, new code {new}"


def _brief(value: Any) -> str:
    text = plain_text(repr(value))
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 3] + "..."


def _print(rows: list[dict[str, Any]]) -> None:
    if not rows:
        say("no agents")
        return
    tried = [row for row in rows if row["version"] is not None]
    if tried:
        emit_table(
            ["ID", "FROM", "VERSION", "EVENTS", "OUTCOME"],
            (
                [r["agent_id"], r["from_version"], r["version"], r["events"], r["outcome"]]
                for r in tried
            ),
            "FROM VERSION EVENTS",
        )
    same = sum(row["outcome"] == "same" for row in rows)
    say(f"{counted(len(rows), 'agent')}: {same} the same, {len(rows) - same} not")
