"""Nodes, detector, strategies and compactor as processes to be killed, and what topics say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import TopicPartition

from benchmarks.child import ROOT
from benchmarks.failover_agents import NOTES_ENV
from benchmarks.report import say
from headwater.config import Config
from headwater.errors import UndecodableRecord
from headwater.fleet.control import Control
from headwater.fleet.feed import Feed, decoded
from headwater.fleet.records import CommandKind, FailureEvent, FailureType
from headwater.fleet.routes import Routes
from headwater.kafka import clients
from headwater.kafka.reader import Reader
from headwater.log.records import parse

PATIENCE_S = 60.0
_AGAIN_S = 0.5


class Processes:
    """Programs of ``headwater``, by name; none outlives the block."""

    def __init__(self, config: Config, scratch: Path) -> None:
        self._config = config
        self._scratch = scratch
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait()

    def start(self, name: str, *arguments: str) -> None:
        """Start ``headwater ARGUMENTS`` under a node id."""
        config = self._config
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HEADWATER_")} | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
            "HEADWATER_BOOTSTRAP_SERVERS": config.bootstrap_servers,
            "HEADWATER_PREFIX": config.prefix,
            "HEADWATER_PROFILE": config.profile,
            "HEADWATER_NODE_ID": name,
            NOTES_ENV: str(self.notes),
        }
        with (self._scratch / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "headwater", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=ROOT,
            )

    def kill(self, name: str) -> float:
        """SIGKILL; when that was, on the clock of :func:`time.monotonic`."""
        process = self._running.pop(name)
        died = time.monotonic()
        process.send_signal(signal.SIGKILL)
        process.wait()
        return died

    @property
    def notes(self) -> Path:
        """What agents noted as acknowledged."""
        return self._scratch / "acknowledged.txt"

    def logs(self) -> str:
        """The last lines of every program."""
        tails = []
        for log in sorted(self._scratch.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-15:]
            tails.append("\n".join([f"--- {log.stem}", *lines]))
        return "\n".join(tails)


@dataclass(slots=True)
class Seen:
    """Changes of one agent in one epoch: when the first was read, and by how many it grew."""

    first_s: float
    count: int = 1


@dataclass(slots=True)
class Watcher:
    """Reads events and failures as they come, on a thread of its own.

    ``epochs[agent][epoch]`` says when the first change of that epoch was read, committed as it
    then is; ``detected`` when failures of a node were read.
    """

    config: Config
    partitions: int
    epochs: dict[str, dict[int, Seen]] = field(default_factory=dict)
    detected: defaultdict[str, list[float]] = field(default_factory=partial(defaultdict, list))
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        ready = threading.Barrier(3)
        for work in (self._events, self._failures):
            thread = threading.Thread(target=work, args=(ready,), daemon=True)
            self._threads.append(thread)
            thread.start()
        ready.wait(PATIENCE_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def epoch(self, agent: str) -> int:
        """The newest epoch in which a change of the agent was read."""
        return max(self.epochs.get(agent, {0: None}))

    def _events(self, ready: threading.Barrier) -> None:
        topic = self.config.topic("events")
        consumer = clients.consumer(self.config, clients.FOLLOWING)
        reader = Reader(self.config, clients.POINT_READS)
        consumer.assign(
            [TopicPartition(topic, p, reader.range(topic, p)[1]) for p in range(self.partitions)]
        )
        reader.close()
        ready.wait()
        while not self._stop.is_set():
            first = consumer.poll(0.05)
            if first is None:
                continue
            batch = [first, *consumer.consume(1000, 0)]
            now = time.monotonic()
            for message in batch:
                if message.error() is None:
                    self._take(message.key(), message.value(), now)
        consumer.close()

    def _take(self, key: bytes | None, value: bytes | None, now: float) -> None:
        try:
            change = parse(key, value)
        except UndecodableRecord:
            return
        if change.kind != "CHANGE":
            return
        epochs = self.epochs.setdefault((key or b"").decode(), {})
        seen = epochs.get(change.epoch)
        if seen is None:
            epochs[change.epoch] = Seen(now)
        else:
            seen.count += 1

    def _failures(self, ready: threading.Barrier) -> None:
        feed = Feed(self.config, "recovery", "end")
        ready.wait()
        while not self._stop.is_set():
            for message in feed.read(0.05):
                failure = decoded(FailureEvent, message)
                if failure is not None and failure.type is FailureType.NODE_FAILURE:
                    node = failure.component.removeprefix("node:")
                    self.detected[node].append(time.monotonic())
        feed.close()


def place(config: Config, agents: Mapping[str, Sequence[str]], kind: str) -> None:
    """Start agents on their nodes, by node id, and wait until each runs somewhere."""
    _command(config, CommandKind.START, agents, kind, {})


def move(config: Config, agents: Mapping[str, Sequence[str]], target: str) -> None:
    """Move agents, by the node that has them, to another node."""
    _command(config, CommandKind.MIGRATE, agents, "", {"target": target})


def _command(
    config: Config,
    kind: CommandKind,
    agents: Mapping[str, Sequence[str]],
    of: str,
    arguments: dict[str, str],
) -> None:
    """Have nodes do something with agents; what a node could not do is asked for again."""
    control = Control(config, "user:benchmark")
    deadline = time.monotonic() + PATIENCE_S
    left = {node: list(names) for node, names in agents.items() if names}
    try:
        while left:
            commands = [
                control.command(node, kind, [(name, of) for name in names], arguments)
                for node, names in left.items()
            ]
            control.send(*commands)
            replies = control.wait(commands, PATIENCE_S)
            refused: dict[str, list[str]] = {}
            for command in commands:
                results = [r for reply in replies[command.command_id] for r in reply.results]
                done = {r.agent_id for r in results if r.ok}
                missing = [a.agent_id for a in command.agents if a.agent_id not in done]
                if missing:
                    refused[command.node_id] = missing
                    say(f"{command.node_id}: {kind}: {[r.error for r in results if not r.ok][:2]}")
            left = refused
            if not left:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{kind} is not obeyed: {left}")
            time.sleep(_AGAIN_S)
    finally:
        control.close()


def residents(config: Config) -> dict[str, list[str]]:
    """The agents of each node, as the routes have them."""
    routes = Routes(config)
    try:
        routes.wait()
        return {node: [r.agent_id for r in routes.on(node)] for node in routes.nodes()}
    finally:
        routes.close()
