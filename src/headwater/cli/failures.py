"""``headwater failures`` and ``headwater incident``: what failed, and what came of it."""

from __future__ import annotations

import click

from headwater.cli.context import as_json as json_option
from headwater.cli.context import connect_to_fleet, load_config
from headwater.cli.errors import Exit, NothingYet
from headwater.cli.incidents import Incident, Moment, find, read_incidents, timeline
from headwater.cli.output import emit_fields, emit_json, emit_table, local_time, say

_SHORT = 12
_TYPES = (
    "NODE_FAILURE",
    "NETWORK_PARTITION",
    "STATE_CORRUPTION",
    "PERFORMANCE_DEGRADATION",
    "RESOURCE_EXHAUSTION",
    "TIMEOUT",
    "DATA_INCONSISTENCY",
)


@click.command()
@click.option("--all", "all_", is_flag=True, help="Those that are over as well.")
@click.option(
    "--type",
    "types",
    type=click.Choice(_TYPES, case_sensitive=False),
    multiple=True,
    help="Only of this type; may be given again.",
)
@click.option("--component", metavar="NAME", help="Only of this component, such as node:a.")
@json_option
def failures(all_: bool, types: tuple[str, ...], component: str | None, as_json: bool) -> None:
    """List the failures that are not over, newest first."""
    try:
        config = load_config()
        connect_to_fleet(config)
        found = read_incidents(config)
    except NothingYet as error:
        say(str(error))
        found = []
    wanted = [
        each
        for each in found
        if (all_ or each.open)
        and (not types or each.type in types)
        and component in (None, each.component)
    ]
    if as_json:
        emit_json([each.to_json() for each in wanted])
    elif wanted:
        headings = "ID DETECTED TYPE SEVERITY COMPONENT STATUS ATTEMPTS STRATEGY PERSON"
        emit_table(headings.split(), [_cells(each) for each in wanted], "ATTEMPTS")
    else:
        say("no failures" if all_ else "no failures that are not over; --all shows the others")


def _cells(each: Incident) -> list[object]:
    outcome = each.outcome
    return [
        each.failure_id[:_SHORT],
        local_time(each.detected_at),
        each.type,
        each.severity.value,
        each.component,
        each.status,
        0 if outcome is None else outcome.attempt,
        (outcome.strategy if outcome is not None else "") or "-",
        each.escalated or "-",
    ]


@click.command()
@click.argument("failure_id", metavar="ID")
@json_option
@click.pass_context
def incident(ctx: click.Context, /, failure_id: str, as_json: bool) -> None:
    """Show a failure from its first symptom to the last action, as the audit tells it.

    ID is the failure's, or its beginning.
    """
    from headwater.fleet.audit import read_audit

    try:
        config = load_config()
        connect_to_fleet(config)
    except NothingYet as error:
        say(str(error))
        ctx.exit(Exit.NOT_FOUND)
    found = find(read_incidents(config), failure_id)
    moments = timeline(found, read_audit(config))
    if as_json:
        emit_json({**found.to_json(), "timeline": [each.to_json() for each in moments]})
    else:
        _print(found, moments)


def _print(found: Incident, moments: list[Moment]) -> None:
    outcome, escalation = found.outcome, found.escalation
    emit_fields(
        [
            ("failure", found.failure_id),
            ("type", f"{found.type}, {found.severity.value}"),
            ("component", found.component),
            ("what", found.description),
            ("status", found.status + (", cleared" if found.cleared else "")),
        ]
    )
    if outcome is not None:
        went_on = sum(item.ok for item in outcome.items)
        emit_fields([("outcome", outcome.message or "-")])
        if outcome.error:
            emit_fields([("error", outcome.error)])
        if outcome.items:
            emit_fields([("agents", f"{went_on} of {len(outcome.items)} go on")])
    if escalation is not None:
        emit_fields([("person", f"{escalation.status.value} by {escalation.by}")])
        if escalation.note:
            emit_fields([("note", escalation.note)])
    click.echo("")
    rows = [
        [f"{each.after_ms / 1000:.3f}", local_time(each.at), each.actor, each.action, _said(each)]
        for each in moments
    ]
    emit_table(["SECONDS", "AT", "WHO", "WHAT", "MESSAGE"], rows, "SECONDS")
    if outcome is not None and any(not item.ok for item in outcome.items):
        click.echo("")
        bad = [[item.agent_id, item.error] for item in outcome.items if not item.ok]
        emit_table(["AGENT", "DOES NOT GO ON"], bad)


def _said(each: Moment) -> str:
    return f"{each.message} ({each.reason})" if each.reason else each.message
