"""``headwater acknowledge`` and ``headwater resolve``: a person takes a failure, and gives it back
to automation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from headwater.cli.confirm import dry_run_option, go_on, reason_option, user, yes_option
from headwater.cli.context import as_json as json_option
from headwater.cli.context import connect_to_fleet, load_config
from headwater.cli.incidents import escalation_json, find, read_incidents
from headwater.cli.output import emit_json, say
from headwater.clock import wall_ms
from headwater.errors import PointNotFound

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.fleet.records import Escalation, EscalationStatus


@click.command()
@click.argument("failure_id", metavar="ID")
@dry_run_option
@yes_option
@reason_option
@json_option
def acknowledge(failure_id: str, dry_run: bool, yes: bool, reason: str, as_json: bool) -> None:
    """Say that somebody looks at an escalated failure.

    ID is the failure's, or its beginning.
    """
    from headwater.fleet.records import EscalationStatus

    _change(failure_id, EscalationStatus.ACKNOWLEDGED, reason, as_json, dry_run=dry_run, yes=yes)


@click.command()
@click.argument("failure_id", metavar="ID")
@dry_run_option
@yes_option
@reason_option
@json_option
def resolve(failure_id: str, dry_run: bool, yes: bool, reason: str, as_json: bool) -> None:
    """Give an escalated failure back to automation, which then goes on with its component.

    What had been given up is tried once more: what was put right by hand is found to be so, and
    what was not is escalated again. ID is the failure's, or its beginning.
    """
    from headwater.fleet.records import EscalationStatus

    _change(failure_id, EscalationStatus.RESOLVED, reason, as_json, dry_run=dry_run, yes=yes)


def _change(
    failure_id: str,
    status: EscalationStatus,
    reason: str,
    as_json: bool,
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    config = load_config()
    connect_to_fleet(config)
    found = find(read_incidents(config), failure_id)
    known = found.escalation
    if known is None:
        raise PointNotFound(f"failure {found.failure_id} was not escalated: nobody is asked")
    what = f"{status.value.lower()}: {found.type} of {found.component}: {known.message}"
    if known.status is status:
        say(f"it is {status.value} already, by {known.by}")
    elif go_on(what, dry_run=dry_run, yes=yes):
        known = _write(config, known, status, reason)
    if as_json:
        emit_json({"failure_id": found.failure_id, **escalation_json(known)})


def _write(config: Config, known: Escalation, status: EscalationStatus, reason: str) -> Escalation:
    import msgspec

    from headwater.fleet.audit import audit
    from headwater.fleet.feed import Sender

    by = user()
    changed = msgspec.structs.replace(
        known, status=status, by=by, note=reason or known.note, updated_at=wall_ms()
    )
    sender = Sender(config)
    try:
        # The audit first: what is done must not be missing there.
        told = audit(
            sender,
            by,
            status.value.lower(),
            known.component,
            failure_id=known.failure_id,
            message=f"{known.type} of {known.component} {status.value.lower()}",
            reason=reason,
        )
        sender.settle(told)
        sender.put("escalations", known.failure_id, changed)
    finally:
        sender.close()
    return changed
