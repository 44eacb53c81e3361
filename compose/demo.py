"""``python -m compose.demo [ROUND]``: have the nodes do the auditors' work, and judge the result.

Starts each agent on a node and waits until all are done. Whatever is killed meanwhile, this program
included, the work goes on: what has a route is the strategies' business, and what has none yet is
started again. Ends with 0 if every state is what an undisturbed run gives, each step once.
"""

from __future__ import annotations

import collections
import json
import logging
import sys
import time
from collections.abc import Iterable

import headwater
from compose.auditors import Auditor, agent_ids, plan_of, wanted_hash
from headwater.client import Client
from headwater.clock import suspended_clock
from headwater.config import Config
from headwater.errors import AgentNotFound, HeadwaterError, RetryableError
from headwater.fleet.control import Control
from headwater.fleet.pulse import Pulse
from headwater.fleet.records import CommandKind, NodeMode, RouteStatus
from headwater.fleet.routes import Routes
from headwater.topics import connect_fleet

log = logging.getLogger("compose.demo")

_AGAIN_S = 10.0
_LOOK_S = 0.5
_SILENT_S = 5.0


class Round:
    """One round of agents on their way."""

    def __init__(self, config: Config, name: str) -> None:
        connect_fleet(config)
        self._pulse = Pulse(config, history_s=_SILENT_S)
        self._routes = Routes(config)
        self._control = Control(config, "user:demo")
        self._agents = agent_ids(name)
        self._asked_s: dict[str, float] = {}
        self._said = ""

    def run(self) -> None:
        """Start what has not begun, until all is done."""
        self._routes.wait()
        while not all(self._is(agent, RouteStatus.DONE) for agent in self._agents):
            self._pulse.read(_LOOK_S)
            self._routes.read(0.01)
            self._start([each for each in self._agents if self._routes.get(each) is None])
            self._report()

    def _is(self, agent: str, status: RouteStatus) -> bool:
        route = self._routes.get(agent)
        return route is not None and route.status is status

    def _nodes(self) -> list[str]:
        now_s = suspended_clock()
        return sorted(
            node
            for node, life in self._pulse.lives.items()
            if now_s - life.read_s < _SILENT_S
            and life.mode is NodeMode.RUNNING
            and any(kind.kind == Auditor.__name__ for kind in life.kinds.values())
        )

    def _start(self, agents: Iterable[str]) -> None:
        now_s, nodes = time.monotonic(), self._nodes()
        due = [a for a in agents if now_s - self._asked_s.get(a, -_AGAIN_S) >= _AGAIN_S]
        shares = collections.defaultdict(list)
        for number, agent in enumerate(due):
            if nodes:
                # Another one than before: that one may be dead.
                turn = number + int(now_s / _AGAIN_S)
                shares[nodes[turn % len(nodes)]].append((agent, Auditor.__name__))
                self._asked_s[agent] = now_s
        commands = [
            self._control.command(node, CommandKind.START, agents, expires_in_s=_AGAIN_S)
            for node, agents in shares.items()
        ]
        self._control.send(*commands)

    def _report(self) -> None:
        where = collections.Counter(
            route.node_id if route.status is RouteStatus.RUNNING else route.status.value.lower()
            for agent in self._agents
            if (route := self._routes.get(agent)) is not None
        )
        said = ", ".join(f"{count} {place}" for place, count in sorted(where.items()))
        if said != self._said:
            self._said = said
            log.info("agents: %s", said or "none has begun")

    def judge(self, client: Client) -> dict[str, object]:
        """What the log says that became of each agent."""
        problems = []
        steps = 0
        for agent_id in self._agents:
            try:
                found = client.recover(agent_id)
            except AgentNotFound:
                problems.append(f"{agent_id} is not there")
                continue
            planned = len(plan_of(agent_id).steps)
            done = [entry["step"] for entry in found.state.execution_history]
            steps += len(set(done))
            if len(set(done)) < planned:
                problems.append(f"{agent_id}: {len(set(done))} of {planned} steps are done")
            if len(done) > len(set(done)):
                problems.append(f"{agent_id}: {len(done) - len(set(done))} steps twice")
            if found.state_hash != wanted_hash(agent_id):
                problems.append(f"{agent_id}: its state is not that of an undisturbed run")
        return {"agents": len(self._agents), "steps": steps, "problems": problems}


def main(name: str) -> int:
    """Play a round; 0 if all is well."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("headwater").setLevel(logging.WARNING)
    config = Config.load()
    while True:
        try:
            round_ = Round(config, name)
            round_.run()
            with headwater.connect(config) as client:
                result = round_.judge(client)
        except RetryableError as error:
            log.info("tried again: %s", error)
            time.sleep(1.0)
        except HeadwaterError as error:
            log.error("%s", error)
            return 1
        else:
            sys.stdout.write(json.dumps(result) + "\n")
            return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "first"))
