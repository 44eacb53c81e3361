"""``headwater nodes`` and ``headwater locate``: who is there, and who runs what."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.context import as_json as json_option
from headwater.cli.context import complete_agent_ids, connect_to_fleet, connected, load_config
from headwater.cli.errors import Exit, NothingYet
from headwater.cli.output import emit_fields, emit_json, emit_table, local_time, say, size
from headwater.clock import wall_ms

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.fleet.pulse import Life
    from headwater.fleet.records import AgentReport, Route

_HISTORY_S = 60.0
_PATIENCE_S = 10.0


@dataclass(slots=True)
class _Node:
    """A node: its latest life, if it was heard of, and the routes that lead to it."""

    node_id: str
    life: Life | None = None
    silent_ms: int | None = None
    """Since its last heartbeat, by both clocks; None where none was heard."""
    routes: list[Route] = field(default_factory=list)

    @property
    def mode(self) -> str:
        """What it does, or that it is silent."""
        life, silent_ms = self.life, self.silent_ms
        if life is None or silent_ms is None or silent_ms > life.beat.lease_ms:
            return "silent"
        return life.mode.value

    def agents(self) -> list[AgentReport]:
        """Its agents, as it said last."""
        return [] if self.life is None else sorted(self.life.agents.values(), key=_by_id)


def _by_id(agent: AgentReport) -> str:
    return agent.agent_id


@click.command()
@click.argument("node_ids", nargs=-1, metavar="[NODE]...")
@click.option("--agents", "of_agents", is_flag=True, help="List their agents instead.")
@json_option
@click.pass_context
def nodes(ctx: click.Context, /, node_ids: tuple[str, ...], of_agents: bool, as_json: bool) -> None:
    """List the nodes: what they run and how they are.

    Reads the heartbeats of the last minute, and the routes.
    """
    try:
        found = {node.node_id: node for node in _nodes(load_config())}
    except NothingYet as error:
        say(str(error))
        found = {}
    wanted = [found[name] for name in node_ids or found if name in found]
    if as_json:
        emit_json([_json(node) for node in wanted])
    elif of_agents:
        _agents_table(wanted)
    elif wanted:
        _table(wanted)
    elif not node_ids:
        say("no nodes")
    missing = [name for name in node_ids if name not in found]
    if missing:
        say(f"no such node: {', '.join(missing)}")
        ctx.exit(Exit.NOT_FOUND)


def _nodes(config: Config) -> list[_Node]:
    from headwater.fleet.pulse import Pulse
    from headwater.fleet.records import NodeMode
    from headwater.fleet.routes import Routes

    connect_to_fleet(config)
    found: dict[str, _Node] = {}
    pulse, routes = Pulse(config, history_s=_HISTORY_S), Routes(config)
    try:
        routes.wait()
        deadline = time.monotonic() + _PATIENCE_S
        while (pulse.read(0.05) or not pulse.caught_up) and time.monotonic() < deadline:
            continue
        now = wall_ms()
        for life in pulse.lives.values():
            if life.mode is not NodeMode.CLIENT:
                silent_ms = max(0, now - life.beat.sent_at)
                found[life.node_id] = _Node(life.node_id, life, silent_ms)
        for node_id in routes.nodes():
            found.setdefault(node_id, _Node(node_id)).routes = routes.on(node_id)
    finally:
        pulse.close()
        routes.close()
    return [found[node_id] for node_id in sorted(found)]


def _table(wanted: list[_Node]) -> None:
    headings = "NODE MODE HEARD AGENTS KINDS CPU MEMORY DISK_FREE LOOP_LAG BROKER CANNOT_REACH"
    emit_table(
        headings.split(), [_cells(node) for node in wanted],
        "HEARD AGENTS CPU MEMORY DISK_FREE LOOP_LAG BROKER",
    )  # fmt: skip


def _cells(node: _Node) -> list[object]:
    life, silent_ms = node.life, node.silent_ms
    heard = "-" if silent_ms is None else f"{silent_ms / 1000:.1f}s"
    if life is None or node.mode == "silent" or life.resources is None:
        count = len(node.routes) if life is None else len(life.agents)
        return [node.node_id, node.mode, heard, count, _kinds(node), *"-----", "-"]
    r = life.resources
    unreachable = [peer.node_id for peer in life.peers.values() if not peer.reachable]
    return [
        node.node_id,
        node.mode,
        heard,
        len(life.agents),
        _kinds(node),
        f"{r.cpu:.2f}",
        size(r.memory_bytes),
        f"{r.disk_free_bytes / 1e9:.1f} GB",
        f"{r.loop_lag_ms:.0f}ms",
        "-" if r.broker_rtt_ms < 0 else f"{r.broker_rtt_ms:.0f}ms",
        ",".join(sorted(unreachable)) or "-",
    ]


def _kinds(node: _Node) -> str:
    kinds = {route.kind for route in node.routes}
    if node.life is not None:
        kinds |= node.life.kinds.keys()
    return ",".join(sorted(kinds)) or "-"


def _agents_table(wanted: list[_Node]) -> None:
    rows = [
        [
            each.agent_id, node.node_id, each.kind, each.epoch, each.version, each.step,
            each.state.value, each.restarts, each.last_error or "-",
        ]
        for node in wanted
        for each in node.agents()
    ]  # fmt: skip
    if not rows:
        say("no agents")
        return
    headings = "ID NODE KIND EPOCH VERSION STEPS STATE RESTARTS LAST_ERROR"
    emit_table(headings.split(), rows, "EPOCH VERSION STEPS RESTARTS")


def _json(node: _Node) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "node_id": node.node_id,
        "mode": node.mode,
        "silent_ms": node.silent_ms,
        "routes": [route.agent_id for route in node.routes],
    }
    if node.life is None:
        return shown | {"heartbeat": None}
    life = node.life
    return shown | {
        "heartbeat": {
            "incarnation": life.incarnation.hex(),
            "sequence": life.beat.sequence,
            "lease_ms": life.beat.lease_ms,
            "address": life.address,
            "agents": [each.to_record() for each in node.agents()],
            "kinds": [each.to_record() for each in life.kinds.values()],
            "peers": [each.to_record() for each in life.peers.values()],
            "resources": None if life.resources is None else life.resources.to_record(),
        }
    }


@click.command()
@click.argument("agent_id", shell_complete=complete_agent_ids)
@click.option("--follow", is_flag=True, help="Go on with each change, until Ctrl-C.")
@json_option
def locate(agent_id: str, follow: bool, as_json: bool) -> None:
    """Tell which node runs an agent."""
    config = load_config()
    connect_to_fleet(config)
    with connected(config) as client:
        route = client.locate(agent_id)
        _show(route, as_json, in_line=follow)
        if not follow:
            return
        for each in client.routes(follow=True):
            if each.agent_id == agent_id and each != route:
                route = each
                _show(route, as_json, in_line=True)


def _show(route: Route, as_json: bool, *, in_line: bool) -> None:
    record = route.to_record() | {"incarnation": route.incarnation.hex()}
    if as_json and in_line:
        click.echo(json.dumps(record))
    elif as_json:
        emit_json(record)
    elif in_line:
        when = local_time(route.updated_at)
        click.echo(f"{when}  {route.status}  {route.node_id}  epoch {route.epoch}  {route.address}")
    else:
        names = ("agent_id", "node_id", "address", "epoch", "kind", "status", "reason")
        emit_fields((name.removesuffix("_id"), record[name] or "-") for name in names)
