"""Where a drill takes place: shadows of real agents, and nodes of the drill's own that run them."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from headwater.client import Client
from headwater.drill.gate import Gate
from headwater.drill.shadow import (
    DIRECTORY,
    DISK,
    FIELD,
    KIND,
    Shadow,
    is_shadow,
    shadow_id,
)
from headwater.drill.steps import DONE, Note, read_notes
from headwater.drill.watch import Watch
from headwater.errors import AgentNotFound, DrillNotHeld, HeadwaterError
from headwater.fleet.control import Control
from headwater.fleet.feed import Sender
from headwater.fleet.records import CommandKind
from headwater.local.ports import choose_nodes
from headwater.local.process import Child, Identity, Watchdog, spawn
from headwater.recovery import Recovered

log = logging.getLogger("headwater.drill")

_START_S = 30.0
_END_S = 15.0
_WARM_STEPS = 3
_DISK_BYTES = 64 << 20


class Stage:
    """A drill's nodes and agents; nothing of it is left once it is closed.

    ``environment`` is what a node's process needs to connect as ``client`` does.
    """

    def __init__(self, client: Client, drill_id: str, environment: Mapping[str, str]) -> None:
        self.client = client
        self.drill_id = drill_id
        self.config = client.config
        self.directory = Path(tempfile.mkdtemp(prefix="headwater-drill-"))
        self.watch = Watch(self.config)
        # Of two parts of one size the one with the smallest id counts as the majority.
        self.heir, self.victim = f"drill-{drill_id}-a", f"drill-{drill_id}-b"
        self.agents: list[str] = []
        self.gates: dict[str, Gate] = {}
        self._environment = {**environment, DIRECTORY: str(self.directory)}
        self._control = Control(self.config, f"drill:{drill_id}")
        self._watchdog = Watchdog(self.directory)
        self._children: dict[str, Child] = {}
        self._over = False

    def __enter__(self) -> Self:
        return self

    # Processes.

    def start_nodes(self, *, small_disk: bool = False) -> None:
        """Start both nodes, the victim on a small disk of its own if need be, and wait until they
        beat.
        """
        self._start_node(self.heir, small_disk=False)
        self._start_node(self.victim, small_disk=small_disk)
        for node_id in (self.heir, self.victim):
            self.wait_for(partial(self.watch.runs, node_id, Shadow.kind), f"node {node_id}")

    def _start_node(self, node_id: str, *, small_disk: bool) -> None:
        (free,) = choose_nodes(1)
        gate = self.gates[node_id] = Gate(("127.0.0.1", free.port))
        data = self.directory / f"{node_id}.data"
        data.mkdir()
        words = ["node", "run", KIND, "--node-id", node_id, "--data-dir", str(data)]
        words += ["--listen", f"127.0.0.1:{free.port}", "--advertise", gate.address]
        disk = _on_small_disk(data) if small_disk else []
        self.spawn(node_id, words, before=disk, **{DISK: str(data)})

    def spawn(
        self, name: str, words: Sequence[str], *, before: Sequence[str] = (), **environment: str
    ) -> Child:
        """Start a command of Headwater's that ends with the drill at the latest."""
        command = [*before, sys.executable, "-m", "headwater", *words]
        log_path = self.directory / f"{name}.log"
        whole = {**self._environment, "HEADWATER_NODE_ID": name, **environment}
        child = spawn(command, log_path, environment=whole, group=self._watchdog.group)
        self._children[name] = child
        return child

    def identity(self, name: str) -> Identity:
        """One of the processes."""
        return self._children[name].identity

    def ended(self, name: str) -> bool:
        """Whether one of the processes is gone."""
        return self._children[name].exit_status is not None

    def said(self, name: str) -> list[str]:
        """What one of the processes said so far."""
        path = self.directory / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace").splitlines()

    # Agents.

    def copy(self, agents: Iterable[str]) -> None:
        """Fork real agents as they are now. Raises what :meth:`Client.fork` does."""
        for agent_id in agents:
            version = self.client.recover(agent_id, upgrade=False).version
            name = shadow_id(self.drill_id, agent_id)
            self.client.fork(agent_id, version, name)
            self.agents.append(name)

    def start_agents(self) -> None:
        """Have the victim run the shadows, and wait until each has taken some steps."""
        wanted = [(agent, Shadow.kind) for agent in self.agents]
        command = self._control.command(
            self.victim, CommandKind.START, wanted, reason=f"drill {self.drill_id}"
        )
        self._control.send(command)
        replies = self._control.wait([command], _START_S)[command.command_id]
        failed = [r.error for reply in replies for r in reply.results if not r.ok]
        failed += [reply.error for reply in replies if reply.error]
        if failed or not replies:
            raise DrillNotHeld(f"the shadows do not run: {failed[0] if failed else 'no answer'}")
        self.wait_for(self._warm, "steps of every shadow")

    def _warm(self) -> bool:
        done = [note.agent_id for note in self.notes() if note.what == DONE]
        return all(done.count(agent) >= _WARM_STEPS for agent in self.agents)

    def notes(self) -> list[Note]:
        """What the shadows have noted so far."""
        return read_notes(self.directory)

    def states(self) -> dict[str, list[int]]:
        """The step numbers in the shadows' states, as the log proves them."""
        found: dict[str, list[int]] = {}
        for each in self.client.recover_many(self.agents):
            if isinstance(each, Recovered):
                found[each.agent_id] = list(each.state.data.get(FIELD, ()))
        return found

    def wait_for(self, true: Callable[[], bool], what: str) -> None:
        """Wait for something without which the drill cannot begin. Raises :class:`DrillNotHeld`."""

        def there() -> bool:
            for name, child in self._children.items():
                if child.exit_status is not None:
                    last = (self.said(name) or ["it said nothing"])[-1]
                    raise DrillNotHeld(f"{name} of the drill has ended: {last}")
            return true()

        if not self.watch.until(there, _START_S):
            raise DrillNotHeld(f"no {what} within {_START_S:g} s; the drill could not begin")

    # The end.

    def end_nodes(self) -> None:
        """Give the shadows up, and end all processes in order; once."""
        if self._over:
            return
        self._over = True
        if self.agents:
            self._stop_agents()
        for child in self._children.values():
            child.identity.signal(signal.SIGCONT)
            child.identity.signal(signal.SIGTERM)
        deadline = time.monotonic() + _END_S
        while any(c.exit_status is None for c in self._children.values()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        for child in self._children.values():
            child.identity.signal(signal.SIGKILL)

    def _stop_agents(self) -> None:
        self.watch.look()
        commands = []
        for node_id in (self.heir, self.victim):
            life = self.watch.life(node_id)
            if life is not None and life.agents and not self.ended(node_id):
                stop = [(agent, Shadow.kind) for agent in life.agents]
                commands.append(
                    self._control.command(node_id, CommandKind.STOP, stop, reason="drill ends")
                )
        self._control.send(*commands)
        self._control.wait(commands, _END_S)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.end_nodes()
        except HeadwaterError as problem:
            log.warning("the drill's nodes are ended without asking: %s", problem)
        finally:
            for gate in self.gates.values():
                gate.close()
            self._watchdog.end()
            forget(self.client, self.agents)
            self._control.close()
            self.watch.close()
            shutil.rmtree(self.directory, ignore_errors=True)


def forget(client: Client, agents: Iterable[str]) -> None:
    """Delete shadows, and their routes."""
    sender = Sender(client.config)
    try:
        for agent_id in agents:
            sender.settle(sender.send("routes", agent_id, None))
            try:
                client.delete(agent_id)
            except AgentNotFound:
                pass  # there already
            except HeadwaterError as error:
                log.warning("shadow %s is left behind: %s", agent_id, error)
    finally:
        sender.close()


def leftovers(watch: Watch) -> list[str]:
    """Shadows of drills that were killed: those whose node has not been heard of."""
    return [
        route.agent_id
        for route in watch.routes.all()
        if is_shadow(route.agent_id) and watch.life(route.node_id) is None
    ]


def _on_small_disk(data: Path) -> list[str]:
    """What to put before a command to have it see a small disk of its own in that directory."""
    unshare = shutil.which("unshare")
    if sys.platform != "linux" or unshare is None:
        raise DrillNotHeld("a small disk can be made on Linux only, with unshare")
    options = "-m" if os.geteuid() == 0 else "-Urm"
    mount = f'mount -t tmpfs -o size={_DISK_BYTES} headwater-drill "$0" && exec "$@"'
    return [unshare, options, "sh", "-c", mount, str(data)]
