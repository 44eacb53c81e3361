"""Nodes that beat and obey commands as a script says, through a real Kafka, without real agents."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator

from headwater import Config
from headwater.clock import suspended_clock, wall_ms
from headwater.fleet.feed import Feed, Sender, decoded
from headwater.fleet.records import (
    AgentReport,
    AgentResult,
    Command,
    CommandKind,
    CommandReply,
    Heartbeat,
    KindReport,
    NodeMode,
    Resources,
    Route,
    RouteStatus,
)

Script = Callable[["ScriptedNode", Command, str], str]
"""Says for an agent of a command why it is refused; empty: it is done."""


def obedient(node: ScriptedNode, command: Command, agent: str) -> str:
    """Does as it is told."""
    return ""


RESOURCES = Resources(
    cpu=0.1,
    cpu_limit=2.0,
    memory_bytes=100 << 20,
    memory_limit_bytes=1 << 30,
    disk_free_bytes=1 << 30,
    disk_total_bytes=2 << 30,
    open_files=20,
    open_files_limit=1024,
    loop_lag_ms=0.1,
    broker_rtt_ms=1.0,
)


class ScriptedNode:
    """One node: ``agents`` are what it says that it has; ``obeyed`` the commands, in order."""

    def __init__(
        self,
        config: Config,
        node_id: str,
        *,
        kinds: tuple[str, ...] = ("Worker",),
        script: Script = obedient,
    ) -> None:
        self.config = config
        self.node_id = node_id
        self.kinds = kinds
        self.script = script
        self.incarnation = secrets.token_bytes(16)
        self.sequence = 0
        self.mode = NodeMode.RUNNING
        self.resources = RESOURCES
        self.agents: dict[str, AgentReport] = {}
        # What it says of agents that it starts, and in answer to VERIFY.
        self.steps: dict[str, int] = {}
        self.verified: dict[str, tuple[int, str]] = {}
        self.obeyed: list[Command] = []
        self.received: list[tuple[float, Command]] = []
        self._seen: dict[str, CommandReply] = {}
        self._sender = Sender(config)
        self._feed = Feed(config, "commands", "end")
        self._closed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Beat, obey and answer no more from now on: for scripts."""
        self._stop.set()

    def die(self) -> None:
        """Beat and obey no more."""
        self._stop.set()
        self._thread.join()
        if not self._closed:
            self._closed = True
            self._feed.close()
            self._sender.close()

    def has(self, agent: str, *, kind: str = "Worker", epoch: int = 1, step: int = 1) -> None:
        """Have an agent, and say so."""
        self.agents[agent] = AgentReport(agent_id=agent, kind=kind, epoch=epoch, step=step)
        self._sender.put("routes", agent, self.route(agent))

    def has_many(self, agents: list[str], *, kind: str = "Worker", step: int = 1) -> None:
        """Have many agents, and have said so."""
        for agent in agents:
            self.agents[agent] = AgentReport(agent_id=agent, kind=kind, epoch=1, step=step)
        self._sender.settle(*[self._sender.send("routes", a, self.route(a)) for a in agents])
        self._beat()
        time.sleep(0.4)

    @property
    def running(self) -> bool:
        """Whether it has not died."""
        return not self._stop.is_set()

    def route(self, agent: str) -> Route:
        """The route of an agent that it has."""
        report = self.agents[agent]
        return Route(
            agent_id=agent,
            kind=report.kind,
            node_id=self.node_id,
            incarnation=self.incarnation,
            epoch=report.epoch,
            status=RouteStatus.RUNNING,
            updated_at=wall_ms(),
        )

    def _run(self) -> None:
        interval_s = self.config.timing.heartbeat.total_seconds()
        due = suspended_clock()
        while not self._stop.is_set():
            if suspended_clock() >= due:
                due = suspended_clock() + interval_s
                self._beat()
            for message in self._feed.read(max(0.0, min(0.02, due - suspended_clock()))):
                command: Command | None = decoded(Command, message)
                if command is not None and command.node_id == self.node_id:
                    self.received.append((suspended_clock(), command))
                    self._obey(command)

    def _beat(self) -> None:
        self.sequence += 1
        beat = Heartbeat(
            node_id=self.node_id,
            incarnation=self.incarnation,
            sequence=self.sequence,
            lease_ms=self.config.timing.lease_ms,
            sent_at=wall_ms(),
            mode=self.mode,
            agents_complete=True,
            agents=list(self.agents.values()),
            kinds=[KindReport(kind=kind) for kind in self.kinds],
            resources=self.resources,
        )
        self._sender.send("heartbeats", self.node_id, beat)
        self._sender.poll()

    def _obey(self, command: Command) -> None:
        if command.command_id not in self._seen:
            self.obeyed.append(command)
            results = [self._result(command, a.agent_id, a.kind) for a in command.agents]
            if not command.agents and command.kind is CommandKind.RESTART:
                results = [self._result(command, agent, "") for agent in list(self.agents)]
            if self._stop.is_set():
                return
            self._seen[command.command_id] = CommandReply(
                command_id=command.command_id,
                node_id=self.node_id,
                ok=all(r.ok for r in results),
                results=results,
                replied_at=wall_ms(),
            )
            self._change_mode(command)
        self._sender.send("replies", self.node_id, self._seen[command.command_id])

    def _change_mode(self, command: Command) -> None:
        if command.kind is CommandKind.READ_ONLY and not command.agents:
            self.mode = NodeMode.READ_ONLY
        elif command.kind is CommandKind.READ_WRITE and not command.agents:
            self.mode = NodeMode.RUNNING

    def _result(self, command: Command, agent: str, kind: str) -> AgentResult:
        problem = self.script(self, command, agent)
        if problem:
            return AgentResult(agent_id=agent, ok=False, error=problem)
        if command.kind in (CommandKind.START, CommandKind.RESTART):
            known = self.agents.get(agent)
            self.agents[agent] = AgentReport(
                agent_id=agent,
                kind=kind or (known.kind if known is not None else ""),
                # As a claim would have it: behind all that came before.
                epoch=wall_ms(),
                step=self.steps.get(agent, 0),
            )
            self._sender.send("routes", agent, self.route(agent))
        elif command.kind in (CommandKind.STOP, CommandKind.MIGRATE):
            self.agents.pop(agent, None)
        report = self.agents.get(agent)
        version, digest = self.verified.get(agent, (0, ""))
        return AgentResult(
            agent_id=agent,
            ok=True,
            epoch=0 if report is None else report.epoch,
            version=version,
            detail={"state_hash": digest} if command.kind is CommandKind.VERIFY else {},
        )


@contextlib.contextmanager
def scripted(
    config: Config, *names: str, kinds: tuple[str, ...] = ("Worker",)
) -> Iterator[list[ScriptedNode]]:
    """Nodes that end with the block."""
    nodes = [ScriptedNode(config, name, kinds=kinds) for name in names]
    try:
        yield nodes
    finally:
        for node in nodes:
            node.die()
