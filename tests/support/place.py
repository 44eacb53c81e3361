"""Nodes in processes of their own, and what is to be heard of them."""

from __future__ import annotations

from typing import Any

from headwater import Config
from headwater.fleet.audit import read_audit
from headwater.fleet.control import Control
from headwater.fleet.pulse import Pulse
from headwater.fleet.records import (
    AgentReport,
    AgentResult,
    Command,
    CommandKind,
    NodeMode,
    RouteStatus,
)
from headwater.fleet.routes import Routes
from tests.support.processes import Program, Programs, eventually

PATIENCE_S = 40.0
KINDS = "tests.support.steppers"


class Place:
    """Nodes, and what is to be heard of them."""

    def __init__(self, config: Config, started: Programs) -> None:
        self.config = config
        self.started = started
        self.control = Control(config, "test")
        self.pulse = Pulse(config)
        self.routes = Routes(config)
        self.nodes: list[Program] = []

    def node(self, name: str, *options: str) -> Program:
        """Start a node, and wait until it takes agents."""
        known = self.pulse.lives.get(name)
        data = self.started.directory / f"{name}.data"
        words = ["-v", "node", "run", KINDS, "--node-id", name, "--data-dir", str(data), *options]
        program = self.started.start(name, "headwater", words)
        self.nodes.append(program)

        def up() -> bool:
            assert program.running, program.tail()
            self.pulse.read(0.05)
            life = self.pulse.lives.get(name)
            return life is not None and life is not known and life.mode is NodeMode.RUNNING

        eventually(up, PATIENCE_S, f"{name} is up")
        return program

    def send(self, node: str, kind: str, *agents: str, **arguments: Any) -> Command:
        """Send a command; agents are ids, of kind Async unless they say ``id:Plain``."""
        about = [(each.partition(":")[0], each.partition(":")[2] or "Async") for each in agents]
        command = self.control.command(node, CommandKind(kind), about, arguments)
        self.control.send(command)
        return command

    def tell(self, node: str, kind: str, *agents: str, **arguments: Any) -> list[AgentResult]:
        """Send a command and wait for what becomes of each agent."""
        return self.answer(self.send(node, kind, *agents, **arguments))

    def answer(self, command: Command) -> list[AgentResult]:
        """What became of a command's agents."""
        replies = self.control.wait([command], PATIENCE_S)[command.command_id]
        assert replies and replies[-1].final, f"no answer to {command}"
        assert not replies[-1].error, replies[-1].error
        return [result for reply in replies for result in reply.results]

    def start(self, node: str, *agents: str) -> None:
        """Start agents, however busy the machine is."""
        left = set(agents)

        def started() -> bool:
            nonlocal left
            command = self.send(node, "START", *left)
            replies = self.control.wait([command], PATIENCE_S)[command.command_id]
            begun = {r.agent_id for reply in replies for r in reply.results if r.ok}
            left = {each for each in left if each.partition(":")[0] not in begun}
            return not left

        eventually(started, PATIENCE_S, f"{agents} are started")

    def agents(self, node: str) -> dict[str, AgentReport]:
        """What a node says of its agents."""
        self.pulse.read(0.05)
        return self.pulse.lives[node].agents

    def mode(self, node: str) -> NodeMode:
        """What a node says of itself."""
        self.pulse.read(0.05)
        return self.pulse.lives[node].mode

    def await_steps(self, node: str, agent: str, steps: int) -> None:
        """Wait until an agent has made so many steps more."""
        begin = self.agents(node)[agent].version if agent in self.agents(node) else 0

        def there() -> bool:
            report = self.agents(node).get(agent)
            return report is not None and report.version >= begin + steps

        eventually(there, PATIENCE_S, f"{agent} makes {steps} steps on {node}")

    def where(self, agent: str) -> tuple[str, RouteStatus]:
        """Where an agent's route leads."""
        self.routes.read(0.05)
        route = self.routes.get(agent)
        assert route is not None, agent
        return route.node_id, route.status

    def await_route(self, agent: str, node: str, status: str = "RUNNING") -> None:
        """Wait until an agent's route says so."""
        wanted = (node, RouteStatus(status))

        def there() -> bool:
            self.routes.read(0.05)
            return self.routes.get(agent) is not None and self.where(agent) == wanted

        eventually(there, PATIENCE_S, f"{agent}: {wanted}")

    def audited(self, action: str, component: str) -> list[dict[str, Any]]:
        """The details of what was written down."""
        return [
            record.detail
            for record in read_audit(self.config)
            if (record.action, record.component) == (action, component)
        ]

    def alone(self, *names: str) -> None:
        """Kill all nodes but these."""
        for program in self.nodes:
            if program.name not in names and program.running:
                program.kill()

    def close(self) -> None:
        """Stop listening."""
        self.control.close()
        self.pulse.close()
        self.routes.close()
