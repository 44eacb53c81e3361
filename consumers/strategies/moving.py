"""Has agents started on other nodes, and tells agent by agent what came of it.

What counts is where an agent runs in the end, as the routes say, and not only what the target
answered: whoever else took the agent over meanwhile has put it right as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from headwater.clock import suspended_clock, wall_ms
from headwater.fleet.records import Command, CommandKind, RecoveryItem, Route, RouteStatus

from .context import Answers, Context
from .targets import Moving, choose_targets

TO_RUN = (RouteStatus.RUNNING, RouteStatus.PAUSED)
# A claim waits for the dead owner's lease, and then reads the state.
_CLAIM_S = 15.0
_PATIENCE_S = 20.0
_TRIAL_S = 10.0


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where an agent was before: its kind, and its epoch there."""

    kind: str
    epoch: int = 0

    @classmethod
    def of(cls, route: Route) -> Place:
        """That of a route."""
        return cls(route.kind, route.epoch)


Places = dict[str, Place]


class Mover:
    """Moves the agents of one failure; ``gone`` are nodes that are no targets."""

    def __init__(self, context: Context, places: Places, *, gone: Collection[str]) -> None:
        self.places = places
        self._context = context
        self._gone = frozenset(gone)
        self._items = {item.agent_id: item for item in context.journal.result.items}
        self._tried: dict[str, set[str]] = {}

    @property
    def items(self) -> list[RecoveryItem]:
        """What became of each agent so far."""
        return sorted(self._items.values(), key=lambda item: item.agent_id)

    @property
    def moved(self) -> set[str]:
        """The agents that go on."""
        return {agent for agent, item in self._items.items() if item.ok}

    def errors(self) -> dict[str, str]:
        """Why the others do not."""
        return {agent: item.error for agent, item in self._items.items() if not item.ok}

    def tried_in_vain(self, agents: Iterable[str]) -> bool:
        """Whether there are nodes for some of these, and none that was not tried."""
        return bool(self._plan(agents, {})["targets"])

    def plan(self, agents: Iterable[str]) -> dict[str, Any]:
        """Targets for agents, as the fleet is now, in the form of a step's record."""
        return self._plan(agents, self._tried)

    def _plan(self, agents: Iterable[str], tried: Mapping[str, set[str]]) -> dict[str, Any]:
        moving = [
            Moving(
                agent_id=agent,
                kind=self.places[agent].kind,
                excluded=frozenset(tried.get(agent, ())),
            )
            for agent in agents
        ]
        world = self._context.world
        choice = choose_targets(
            moving, world.nodes(), wall_ms(), gone=self._gone | world.exhausted()
        )
        return {"targets": choice.by_node(), "refused": dict(choice.refused)}

    def move(self, name: str, agents: Iterable[str]) -> dict[str, Any]:
        """A step: start agents on the best targets, all at once."""
        done: dict[str, Any] = self._context.step(
            name,
            lambda plan: self._started(self._commands(name, plan["targets"]), plan["refused"]),
            lambda: self.plan(agents),
        )
        self._recall(done)
        return done

    def move_one_by_one(self, name: str, agents: Iterable[str]) -> dict[str, Any]:
        """A step: start agents on the best targets, one at a time on each; the next once the one
        before has completed a step, or has done no harm for a while.
        """
        done: dict[str, Any] = self._context.step(
            name, lambda plan: self._in_turns(name, plan), lambda: self.plan(agents)
        )
        self._recall(done)
        return done

    def elsewhere(self, agent: str) -> str:
        """The live node that has an agent in a later epoch than before; empty if none has. Once
        the failure has cleared, the node that had it counts as well, if it is back.
        """
        route, before = self._context.world.route(agent), self.places.get(agent)
        if route is None or route.status not in TO_RUN:
            return ""
        life = self._context.world.life(route.node_id)
        if life is None or (route.incarnation and route.incarnation != life.incarnation):
            return ""
        if before is not None and route.epoch <= before.epoch:
            back = suspended_clock() - life.read_s <= life.lease_s
            return route.node_id if self._context.cleared and back else ""
        return route.node_id

    def spare(self, agent: str, node_id: str) -> None:
        """Do not start an agent on a node any more."""
        self._tried.setdefault(agent, set()).add(node_id)

    def look(self, agents: Iterable[str]) -> None:
        """Note of agents that go on elsewhere already, whoever saw to it."""
        for agent in agents:
            if place := self.elsewhere(agent):
                self._items[agent] = RecoveryItem(agent_id=agent, ok=True, node_id=place)
        self._context.journal.update(items=self.items)

    def fail(self, agent: str, error: str) -> None:
        """Note of an agent that does not go on."""
        self._items[agent] = RecoveryItem(agent_id=agent, ok=False, error=error)
        self._context.journal.update(items=self.items)

    def _recall(self, done: Mapping[str, Any]) -> None:
        for agent, target in done.get("in_vain", {}).items():
            self._tried.setdefault(agent, set()).add(target)

    def _in_turns(self, name: str, plan: Mapping[str, Any]) -> dict[str, Any]:
        targets: dict[str, list[str]] = plan["targets"]
        # Who completes a step has shown that it is not to blame.
        summed: dict[str, Any] = {"started": 0, "in_vain": {}, "strikes": {}}
        for turn in range(max(map(len, targets.values()), default=0)):
            began_s = suspended_clock()
            now = {node: [all_[turn]] for node, all_ in targets.items() if turn < len(all_)}
            told = self._started(self._commands(name, now), {})
            summed["started"] += told["started"]
            summed["in_vain"].update(told["in_vain"])
            alone = {agents[0]: node for node, agents in now.items()}
            proved = self._await_proof(alone, began_s)
            summed["strikes"].update(dict.fromkeys(proved, 0))
        for agent, why in plan["refused"].items():
            self.fail(agent, why)
        return summed

    def _commands(self, name: str, targets: Mapping[str, Sequence[str]]) -> list[Command]:
        commands = []
        for node_id in sorted(targets):
            agents = [(agent, self.places[agent].kind) for agent in targets[node_id]]
            commands += self._context.command(
                node_id,
                CommandKind.START,
                agents,
                name=name,
                arguments={"timeout_s": _CLAIM_S},
            )
        return commands

    def _started(self, commands: Sequence[Command], refused: Mapping[str, str]) -> dict[str, Any]:
        context, world, began_s = self._context, self._context.world, suspended_clock()
        wanted = {a.agent_id: c.node_id for c in commands for a in c.agents}

        def settled() -> bool:
            # A target that died will not answer any more; and routes may be quicker than replies.
            present = [n.node_id for n in world.nodes() if n.present]
            live = {name for name in present if not world.failed_since(name, began_s)}
            open_ = [c for c in commands if not context.final(c) and c.node_id in live]
            return all(self.elsewhere(a.agent_id) for c in open_ for a in c.agents)

        timeout_s = _PATIENCE_S + 2 * context.lease_s
        answers = Answers(commands, context.ask(commands, timeout_s, settled))
        in_vain = {}
        for agent, target in wanted.items():
            place = self.elsewhere(agent) or (target if agent in answers.ok else "")
            if not place and world.failed_since(target, began_s):
                # That failure has the agent now, and says whether it is to blame for it.
                place = target
            if not place:
                in_vain[agent] = target
            self._items[agent] = RecoveryItem(
                agent_id=agent,
                ok=bool(place),
                node_id=place,
                error="" if place else answers.errors.get(agent, "not started"),
            )
        for agent, why in refused.items():
            self._items[agent] = RecoveryItem(agent_id=agent, ok=False, error=why)
        context.journal.update(items=self.items)
        return {"started": len(wanted) - len(in_vain), "in_vain": in_vain}

    def _await_proof(self, agents: Mapping[str, str], began_s: float) -> list[str]:
        """Wait until these have completed a step, or their nodes failed after ``began_s``; those
        that have.
        """
        world = self._context.world

        def proved(agent: str, node_id: str) -> bool:
            life = world.life(node_id)
            report = life.agents.get(agent) if life is not None else None
            return report is not None and report.step > 0

        def over(agent: str, node_id: str) -> bool:
            failed = agent not in self.moved or world.failed_since(node_id, began_s)
            return failed or proved(agent, node_id)

        self._context.wait_for(lambda: all(over(*each) for each in agents.items()), _TRIAL_S)
        return [agent for agent, node in agents.items() if proved(agent, node)]
