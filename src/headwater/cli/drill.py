"""``headwater drill``: failures on purpose, what they cost, and what they cost before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.confirm import consent, reason_option, user, yes_option
from headwater.cli.context import as_json as json_option
from headwater.cli.context import connect_to_fleet, connected, environment, load_config, quiet
from headwater.cli.durations import DURATION
from headwater.cli.errors import Exit
from headwater.cli.output import emit_json, emit_table, local_time, plain_text, progress, say
from headwater.errors import DrillNotHeld, RetryableError
from headwater.program import until_told

if TYPE_CHECKING:
    from headwater.client import Client
    from headwater.config import Config
    from headwater.drill.model import Report, Targets

_KINDS: Mapping[str, str] = {
    "node-failure": "Kill a node, and see its agents go on elsewhere.",
    "partition": "Cut a node off from its peers, and see it frozen, then freed.",
    "corruption": "Spoil an agent's state, and see it put right.",
    "slow-node": "Slow a node down, and see that noticed and dealt with.",
    "disk-full": "Fill a node's disk, and see its agents leave in time.",
    "handler-crash": "Kill a node and then the handler of its failure, and see another go on.",
}
_REAL = ("node-failure", "slow-node")


@click.group()
def drill() -> None:
    """Rehearse failures, and measure what comes of them.

    On shadows, copies of agents that do nothing but count in nodes of the drill's own, or on a real
    node. Detectors and strategies are the real ones. Exits with 1 when a target is missed.
    """


def _kind_command(kind: str, about: str) -> click.Command:
    parameters: list[Callable[[Any], Any]] = [
        click.option("--shadow", is_flag=True, help="On copies of agents, which harms nothing."),
        click.option(
            "--agents", "count", type=click.IntRange(1, 1000), default=10, show_default=True,
            metavar="N", help="How many shadows.",
        ),
        click.option(
            "--detect-within", type=DURATION, metavar="DURATION",
            help="The target of detection; by default, from the profile's lease.",
        ),
        click.option(
            "--recover-within", type=DURATION, metavar="DURATION",
            help="The target of recovery; by default, from the profile's lease.",
        ),
        click.option(
            "--schedule", type=DURATION, metavar="DURATION",
            help="Hold it again and again, so long apart, until SIGTERM or Ctrl-C.",
        ),
        reason_option,
        json_option,
    ]  # fmt: skip
    if kind in _REAL:
        node = click.option("--node", "node_id", metavar="NODE",
                            help="On this real node, which must run on this machine.")  # fmt: skip
        parameters += [node, yes_option]

    def held(**options: Any) -> None:
        _hold(kind, **options)

    command: Any = held
    for parameter in reversed(parameters):
        command = parameter(command)
    text = f"{about}\n\nIts result is kept in the audit; see `headwater drill history`."
    made: click.Command = click.command(kind, help=text)(command)
    return made


def _hold(
    kind: str,
    *,
    shadow: bool,
    count: int,
    detect_within: timedelta | None,
    recover_within: timedelta | None,
    schedule: timedelta | None,
    reason: str,
    as_json: bool,
    node_id: str | None = None,
    yes: bool = False,
) -> None:
    if shadow == (node_id is not None):
        where = "--shadow, or --node NODE" if kind in _REAL else "--shadow"
        raise click.UsageError(f"say where to hold it: {where}")
    if node_id is not None and schedule is not None:
        raise click.UsageError("--schedule is for shadows: a real node is given free each time")
    quiet("headwater.kafka", "headwater.recovery")
    config = load_config()
    connect_to_fleet(config)
    targets = _targets(kind, config, detect_within, recover_within)
    ctx = click.get_current_context()
    with connected(config) as client:

        def once() -> Report:
            if node_id is not None:
                return _on_node(client, kind, node_id, targets, yes)
            return _on_shadows(client, kind, targets, count, ctx)

        passed = _again_and_again(once, client, schedule, reason, as_json)
    ctx.exit(Exit.OK if passed else Exit.FAILED)


def _targets(
    kind: str, config: Config, detect: timedelta | None, recover: timedelta | None
) -> Targets:
    from headwater.drill.model import Targets, default_targets

    usual = default_targets(kind, config.timing.lease_ms)
    return Targets(
        detect_ms=usual.detect_ms if detect is None else detect.total_seconds() * 1000,
        recover_ms=usual.recover_ms if recover is None else recover.total_seconds() * 1000,
    )


def _on_shadows(
    client: Client, kind: str, targets: Targets, count: int, ctx: click.Context
) -> Report:
    from headwater.drill.run import hold_on_shadows

    with progress() as advance:
        return hold_on_shadows(
            client, kind, targets, environment(ctx), count=count, advance=advance
        )


def _on_node(client: Client, kind: str, node_id: str, targets: Targets, yes: bool) -> Report:
    from headwater.drill.real import find_victim, hold_on_node

    victim = find_victim(client, node_id)
    what = "Kill" if kind == "node-failure" else "Slow down"
    agents = "agent" if len(victim.agents) == 1 else "agents"
    consent(
        f"{what} node {node_id} (process {victim.process.pid}), which runs {len(victim.agents)} "
        f"{agents}?",
        yes=yes,
    )
    with progress() as advance:
        return hold_on_node(client, kind, victim, targets, advance=advance)


def _again_and_again(
    once: Callable[[], Report],
    client: Client,
    schedule: timedelta | None,
    reason: str,
    as_json: bool,
) -> bool:
    """Hold it once, or as scheduled; whether all targets were met."""
    if schedule is None:
        return _keep_and_show(once(), client, reason, as_json)
    passed = True
    with until_told() as stop:
        while not stop.is_set():
            began = time.monotonic()
            try:
                passed = _keep_and_show(once(), client, reason, as_json) and passed
            except (DrillNotHeld, RetryableError) as error:
                say(f"not held: {error}")
                passed = False
            stop.wait(max(0.0, schedule.total_seconds() - (time.monotonic() - began)))
    return passed


def _keep_and_show(report: Report, client: Client, reason: str, as_json: bool) -> bool:
    from headwater.drill.records import keep

    keep(client.config, report, user(), reason)
    if as_json:
        emit_json(report.to_json())
    else:
        _show([report])
        for problem in report.problems:
            say(f"missed: {plain_text(problem)}")
    return report.passed


@click.command()
@click.option(
    "--last", type=click.IntRange(1), default=20, show_default=True, metavar="N",
    help="How many, the newest.",
)  # fmt: skip
@json_option
def history(last: int, as_json: bool) -> None:
    """List the drills that were held, the newest last."""
    from headwater.drill.records import kept

    config = load_config()
    connect_to_fleet(config)
    found = list(kept(config))[-last:]
    if as_json:
        emit_json([report.to_json() for report in found])
    elif found:
        _show(found)
    else:
        say("no drill was held yet")


def _show(reports: list[Report]) -> None:
    headings = "TIME DRILL ON AGENTS DETECTED RECOVERED CHANGES LOST DOUBLED REPEATED RESULT"
    rows = [
        [
            local_time(each.started_at),
            each.kind,
            "shadows" if each.shadow else each.node_id,
            each.agents,
            _duration(each.detected_ms),
            _duration(each.recovered_ms),
            each.changes,
            each.lost,
            each.doubled,
            each.repeated,
            "passed" if each.passed else "missed",
        ]
        for each in reports
    ]
    emit_table(headings.split(), rows, "AGENTS DETECTED RECOVERED CHANGES LOST DOUBLED REPEATED")


def _duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:.1f} s"


for _kind, _about in _KINDS.items():
    drill.add_command(_kind_command(_kind, _about))
drill.add_command(history)
