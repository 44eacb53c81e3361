"""What commands share that tell nodes what to do: sending, waiting, and showing what came of it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.confirm import dry_run_option, user, yes_option
from headwater.cli.context import connect_to_fleet, load_config
from headwater.cli.durations import DURATION
from headwater.cli.errors import Exit
from headwater.cli.output import emit_json, emit_table, say
from headwater.clock import wall_ms
from headwater.errors import AgentNotFound, HeadwaterError

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.fleet.control import Control
    from headwater.fleet.pulse import Life
    from headwater.fleet.records import Command, Route

__all__ = ["dry_run_option", "yes_option"]

_HISTORY_S = 10.0
_SET_UP_MS = 2000
_COMPLETION_S = timedelta(seconds=3)

timeout_option = click.option(
    "--timeout",
    type=DURATION,
    default="30s",
    show_default=True,
    help="How long to wait until it is done.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one agent, or of a whole command where ``agent_id`` is empty."""

    agent_id: str
    node_id: str
    ok: bool
    error: str = ""
    epoch: int = 0
    version: int = 0
    detail: Mapping[str, Any] | None = None
    answered: bool = True


class Ordering:
    """Sends commands to nodes. Knows routes and nodes, as far as it is asked for them."""

    def __init__(self, config: Config, control: Control) -> None:
        self._config = config
        self._control = control

    def tell(
        self,
        node_id: str,
        kind: str,
        agents: Iterable[tuple[str, str]],
        arguments: Mapping[str, Any],
        reason: str,
        timeout: timedelta,
    ) -> list[Outcome]:
        """Tell one node something; what became of it, agent by agent."""
        return self.tell_all({node_id: list(agents)}, kind, arguments, reason, timeout)

    def tell_all(
        self,
        agents: Mapping[str, list[tuple[str, str]]],
        kind: str,
        arguments: Mapping[str, Any],
        reason: str,
        timeout: timedelta,
    ) -> list[Outcome]:
        """Tell several nodes the same, each about its agents."""
        from headwater.fleet.records import CommandKind

        seconds = timeout.total_seconds()
        commands = [
            self._control.command(
                node_id,
                CommandKind(kind),
                about,
                arguments,
                reason=reason,
                expires_in_s=seconds,
            )
            for node_id, about in agents.items()
        ]
        self._control.send(*commands)
        replies = self._control.wait(commands, seconds)
        return [
            outcome
            for command in commands
            for outcome in _outcomes(command, replies[command.command_id])
        ]

    def routes(self, agent_ids: Iterable[str]) -> dict[str, Route]:
        """Where agents run; raises :class:`AgentNotFound` for one that no node ever ran."""
        from headwater.fleet.routes import Routes

        table = Routes(self._config)
        try:
            table.wait()
            found = {agent_id: table.get(agent_id) for agent_id in agent_ids}
        finally:
            table.close()
        missing = [agent_id for agent_id, route in found.items() if route is None]
        if missing:
            raise AgentNotFound(f"no node ever ran {', '.join(map(repr, missing))}")
        return {agent_id: route for agent_id, route in found.items() if route is not None}

    def known_kinds(self, agent_ids: Iterable[str]) -> dict[str, str]:
        """The kinds of those agents that a node has run before."""
        from headwater.fleet.routes import Routes

        table = Routes(self._config)
        try:
            table.wait()
            routes = [table.get(agent_id) for agent_id in agent_ids]
        finally:
            table.close()
        return {route.agent_id: route.kind for route in routes if route is not None}

    def place(self, kinds: Mapping[str, str]) -> dict[str, list[tuple[str, str]]]:
        """A node for each agent of these kinds: the one that has the fewest."""
        lives = at_work(self._config)
        load = Counter({life.node_id: len(life.agents) for life in lives})
        placed: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for agent_id, kind in kinds.items():
            fit = [life.node_id for life in lives if kind in life.kinds]
            if not fit:
                raise HeadwaterError(
                    f"no node runs agents of kind {kind!r} now; see `headwater nodes`"
                )
            chosen = min(fit, key=lambda node_id: (load[node_id], node_id))
            load[chosen] += 1
            placed[chosen].append((agent_id, kind))
        return dict(placed)


@contextmanager
def ordering() -> Iterator[Ordering]:
    """A connection that tells nodes what to do, on behalf of whoever runs the command."""
    from headwater.fleet.control import Control

    config = load_config()
    connect_to_fleet(config)
    control = Control(config, user())
    try:
        yield Ordering(config, control)
    finally:
        control.close()


def at_work(config: Config) -> list[Life]:
    """The nodes that took agents when they were last heard of, which was just now."""
    from headwater.fleet.pulse import Pulse
    from headwater.fleet.records import NodeMode

    pulse = Pulse(config, history_s=_HISTORY_S)
    try:
        pulse.catch_up()
        return [
            life
            for life in pulse.lives.values()
            if life.mode is NodeMode.RUNNING
            and wall_ms() - life.beat.sent_at < life.beat.lease_ms + _SET_UP_MS
        ]
    finally:
        pulse.close()


def complete_node_ids(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The nodes whose names begin with what was typed; none where Kafka does not answer quickly."""
    try:
        config = load_config(ctx, read_timeout=_COMPLETION_S)
        connect_to_fleet(config)
        return sorted(
            life.node_id for life in at_work(config) if life.node_id.startswith(incomplete)
        )
    except HeadwaterError:
        return []


def parse_arguments(texts: Iterable[str]) -> dict[str, Any]:
    """``name=value`` texts; a value that is no JSON is text."""
    arguments: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.UsageError(f"{text!r} is not NAME=VALUE")
        try:
            arguments[name] = json.loads(value)
        except json.JSONDecodeError:
            arguments[name] = value
    return arguments


def _outcomes(command: Command, replies: list[Any]) -> Iterator[Outcome]:
    told = set()
    for reply in replies:
        for result in reply.results:
            told.add(result.agent_id)
            yield Outcome(
                agent_id=result.agent_id,
                node_id=command.node_id,
                ok=result.ok,
                error=result.error,
                epoch=result.epoch,
                version=result.version,
                detail=result.detail,
            )
    final = next((reply for reply in replies if reply.final), None)
    if final is not None and final.error:
        yield Outcome(agent_id="", node_id=command.node_id, ok=False, error=final.error)
    elif final is None:
        left = [a.agent_id for a in command.agents if a.agent_id not in told]
        for agent_id in left or [""]:
            yield Outcome(
                agent_id=agent_id,
                node_id=command.node_id,
                ok=False,
                error="no answer in time",
                answered=False,
            )


def show_outcome(ctx: click.Context, outcomes: list[Outcome], as_json: bool) -> None:
    """Show what became of each agent, and end with the exit code for it."""
    if as_json:
        emit_json([_json(each) for each in outcomes])
    elif outcomes:
        rows = [
            [o.agent_id or "-", o.node_id, o.epoch or "-", o.version, "ok" if o.ok else o.error]
            for o in outcomes
        ]
        emit_table(["ID", "NODE", "EPOCH", "VERSION", "OUTCOME"], rows, "EPOCH VERSION")
    else:
        say("done: there was no agent that it was about")
    if any(not each.answered for each in outcomes):
        ctx.exit(Exit.TIMEOUT)
    if not all(each.ok for each in outcomes):
        ctx.exit(Exit.FAILED)


def _json(each: Outcome) -> dict[str, Any]:
    return {
        "agent_id": each.agent_id or None,
        "node_id": each.node_id,
        "ok": each.ok,
        "error": each.error or None,
        "epoch": each.epoch,
        "version": each.version,
        "detail": dict(each.detail or {}),
    }
