"""Nodes, detectors, strategies and compactors in processes of their own, on a network that can be
cut, and the check of all that they promise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import headwater
from headwater import Client, Config
from headwater.fleet.control import Control
from headwater.fleet.records import CommandKind, FailureEvent, FailureType, RouteStatus
from headwater.topics import connect_fleet
from tests.support import hosted
from tests.support.fleet import PATIENCE_S, Fleet
from tests.support.history import Record, all_violations
from tests.support.network import Network
from tests.support.processes import Program, Programs, eventually, programs
from tests.support.sight import Sight, sight_of

ASKED_S = 30.0


class NodeFleet(Fleet):
    """Hosted agents, and all that keeps them going."""

    def __init__(
        self, config: Config, started: Programs, partitions: int, net: Network, sight: Sight
    ) -> None:
        super().__init__(config, started, partitions)
        self.record.session = None
        self.net = net
        self.sight = sight
        self.nodes: dict[str, Program] = {}
        self._control = Control(config, "test")
        self._births = 0

    # Programs.

    def command(self, name: str, *words: str, **env: str) -> Program:
        """Start a command of Headwater's, in a place of its own on the network."""
        prefix = self.net.join(name).prefix
        started = self.programs.start(name, "headwater", ["-v", *words], prefix=prefix, **env)
        self.net.settle(name, started.pid)
        return started

    def node(self, name: str, *options: str, prefix: Iterable[str] = (), **env: str) -> Program:
        """Start a node; what it says in ``NAME.log``."""
        place = self.net.join(name)
        words = ["-v", "node", "run", *hosted.KINDS, "--node-id", name, "--listen", place.listen]
        if place.advertise:
            words += ["--advertise", place.advertise]
        data = self.programs.directory / f"{name}.data"
        data.mkdir(exist_ok=True)
        words += ["--data-dir", str(data), *options]
        env = {hosted.DIRECTORY: str(self.programs.directory), **env}
        program = self.programs.start(
            name, "headwater", words, prefix=[*prefix, *place.prefix], **env
        )
        self.net.settle(name, program.pid)
        self.nodes[name] = program
        return program

    def await_nodes(self, *names: str) -> None:
        """Wait until these nodes beat."""
        wanted = set(names)
        self._eventually(lambda: wanted <= self.sight.living().keys(), f"{sorted(wanted)} beat")

    def detector(self, name: str = "detector", **env: str) -> Program:
        """Start an instance of the detectors."""
        return self.command(name, "detect", **env)

    def healer(self, name: str = "healer", **env: str) -> Program:
        """Start an instance of the strategies."""
        return self.command(name, "heal", **env)

    # Agents.

    def start(self, node: str, agents: Iterable[str], kind: str) -> None:
        """Have a node begin agents."""
        left = list(agents)
        self.agents.update(left)
        deadline = time.monotonic() + ASKED_S
        while left:
            command = self._control.command(node, CommandKind.START, [(a, kind) for a in left])
            self._control.send(command)
            replies = self._control.wait([command], ASKED_S)[command.command_id]
            begun = {r.agent_id for reply in replies for r in reply.results if r.ok}
            left = [agent for agent in left if agent not in begun]
            # A node whose lease has run out, on a machine that is busy, takes them a moment later.
            late = time.monotonic() > deadline
            assert not (left and late), f"{node} does not start {left}: {replies}\n{self.tails()}"

    def start_everywhere(self, agents: Iterable[str], nodes: Iterable[str]) -> None:
        """Begin agents, spread over nodes and over both kinds of steps."""
        names, where = list(agents), list(nodes)
        for number, node in enumerate(where):
            own = names[number :: len(where)]
            for kind, part in (("Steady", own[::2]), ("Sturdy", own[1::2])):
                if part:
                    self.start(node, part, kind)

    def order(self, kind: CommandKind, agent: str, **arguments: str) -> None:
        """Have the node that runs an agent do something with it."""
        route = self.sight.routes.get(agent)
        assert route is not None
        about = [(agent, route.kind)]
        command = self._control.command(route.node_id, kind, about, arguments)
        self._control.send(command)
        replies = self._control.wait([command], ASKED_S)[command.command_id]
        assert replies and replies[-1].final and replies[-1].ok, f"{command}: {replies}"

    def move(self, agents: Iterable[str], node: str) -> None:
        """Have agents moved to a node, and wait until they are there."""
        names = list(agents)
        for agent in names:
            self.order(CommandKind.MIGRATE, agent, target=node)
        self._eventually(lambda: set(names) <= set(self.on(node)), f"{names} are on {node}")
        self.await_acks(names, 1)

    def quarantined(self, agent: str) -> bool:
        """Whether nobody may start an agent any more."""
        route = self.sight.routes.get(agent)
        return route is not None and route.status is RouteStatus.QUARANTINED

    def tell(self, agent: str, trouble: str, *, always: bool = False) -> None:
        """Have an agent's next step go wrong; see :mod:`tests.support.hosted`."""
        hosted.tell(self.programs.directory, agent, trouble, always=always)

    def await_told(self, agent: str) -> None:
        """Wait until it has."""
        directory = self.programs.directory
        self._eventually(lambda: hosted.obeyed(directory, agent), f"{agent} misbehaves")

    def await_quarantined(self, agent: str) -> None:
        """Wait until nobody may start an agent any more."""
        self._eventually(lambda: self.quarantined(agent), f"{agent} is quarantined")

    def on(self, node: str) -> list[str]:
        """The agents that a node says it has."""
        life = self.sight.living().get(node)
        return sorted(life.agents) if life is not None else []

    # What is waited for, and what is checked.

    def await_failure(
        self, type_: FailureType, component: str, since_s: float, timeout_s: float = PATIENCE_S
    ) -> FailureEvent:
        """Wait until this failure has been detected, after ``since_s`` (monotonic)."""

        def seen() -> bool:
            return bool(self.sight.seen(type_, component, since_s))

        self._eventually(seen, f"{type_} of {component} is detected", timeout_s)
        return self.sight.seen(type_, component, since_s)[-1]

    def await_settled(
        self, timeout_s: float = PATIENCE_S, apart_from: str = "", *, slow: bool = False
    ) -> None:
        """Wait until every agent is owned once, and every failure has its detection, actions and
        outcome in the audit; but for those of a component where what is wrong still is, and, unless
        ``slow``, for degradations, which may take minutes.
        """
        wrong: list[str] = []

        def settled() -> bool:
            wrong[:] = [*self._misplaced(), *self.sight.unfinished(apart_from, slow=slow)]
            return not wrong

        try:
            eventually(settled, timeout_s, "every agent has one owner, all failures are dealt with",
                       step_s=0.1)  # fmt: skip
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *wrong[:8], self.tails()])) from None

    def _misplaced(self) -> list[str]:
        """What is wrong with who has which agent, by routes and by the nodes' own word."""
        wrong = []
        for agent in sorted(self.agents):
            holders = self.sight.holders(agent)
            route = self.sight.routes.get(agent)
            if len(holders) != 1:
                wrong.append(f"{agent}: the nodes that have it: {holders}, its route: {route}")
            elif route is None or route.node_id != holders[0][0]:
                wrong.append(f"{agent}: {holders[0][0]} has it, its route is {route}")
        return wrong

    def check_all(self, *, more: int = 2, apart_from: str = "") -> None:
        """Every agent is owned once and goes on, nothing acknowledged is lost, nothing is applied
        twice, epochs only grew, and the audit is complete, ``apart_from`` a component's failures.
        """
        self.await_settled(apart_from=apart_from)
        self.await_acks(self.agents, more)
        with headwater.connect(self.config) as client:
            wrong = self.violations(client)
            self._await_owners(client)
        assert not wrong, "\n".join([*wrong[:10], self.tails()])

    def _await_owners(self, client: Client) -> None:
        """Wait until the one node that says that it has an agent is the one of the log's epoch; a
        move may be under way.
        """
        wrong: list[str] = []

        def owned() -> bool:
            wrong.clear()
            for found in client.recover_many(sorted(self.agents)):
                assert isinstance(found, headwater.Recovered), found
                holders = self.sight.holders(found.agent_id)
                owner = (found.head.node_id, found.head.epoch)
                if holders != [owner]:
                    wrong.append(f"{found.agent_id}: {owner} by the log, held by {holders}")
            return not wrong

        try:
            eventually(owned, PATIENCE_S, "log and nodes agree on who owns what", step_s=0.3)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *wrong[:8], self.tails()])) from None

    def violations(self, client: Client | None = None) -> list[str]:
        """As for any fleet; while the agents work on, what they were told before counts, and what
        they have tried after.
        """
        assert client is not None
        told = dict(self.record.acked)
        found = list(client.recover_many(sorted(self.agents)))
        now = self.record
        rewritten = self.sight.rewritten()
        record = Record(session=None, tried=dict(now.tried), acked=told, rewritten=rewritten)
        wrong = all_violations(record, found, self.agents)
        recovered = (each for each in found if isinstance(each, headwater.Recovered))
        return wrong + [each for one in recovered for each in _wrong_epochs(one)]

    def _eventually(
        self, true: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S
    ) -> None:
        try:
            eventually(true, timeout_s, what, step_s=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tails()}") from None

    def close(self) -> None:
        """Stop asking."""
        self._control.close()


def _wrong_epochs(found: headwater.Recovered) -> list[str]:
    """Every writer's name has its epoch, and writers must follow each other in that order."""
    writers = list(dict.fromkeys(entry[0] for entry in found.state.messages))
    epochs = [int(writer.rpartition("/")[2]) for writer in writers]
    if epochs == sorted(set(epochs)) and (not epochs or epochs[-1] <= found.head.epoch):
        return []
    return [f"{found.agent_id}: epochs went back: {writers}, now {found.head.epoch}"]


@contextmanager
def nodes_on(net: Network, config: Config, directory: Path) -> Iterator[NodeFleet]:
    """A fleet of nodes with topics of its own; its processes end with the block."""
    partitions = connect_fleet(config)
    with sight_of(config) as sight, programs(config, directory) as started:
        fleet = NodeFleet(config, started, partitions, net, sight)
        try:
            yield fleet
        finally:
            fleet.close()
            net.mend_all()
            _await_ends(fleet)


def _await_ends(fleet: NodeFleet) -> None:
    fleet.programs.close()
    deadline = time.monotonic() + 5
    while any(p.running for p in fleet.nodes.values()) and time.monotonic() < deadline:
        time.sleep(0.02)
