"""NETWORK_PARTITION: the minority is frozen while the majority goes on; once its links are back,
every state is compared with the log, what diverged is put right, and normal work is resumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from headwater.errors import AgentNotFound
from headwater.fleet.records import (
    Command,
    CommandKind,
    FailureEvent,
    FailureType,
    RecoveryItem,
)

from .context import Answers, Context
from .strategy import Result
from .world import nodes_of

# A person is told when it has not healed by then; what was frozen stays so.
_PATIENCE_S = 60.0
_LONGEST_S = 7 * 86_400.0
_ANSWER_S = 15.0


class Partition:
    """Freezes the minority, waits until it heals, reconciles, and thaws it."""

    name = "network-partition"
    priority = 100

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._patience_s = patience_s

    def can_handle(self, failure_type: FailureType) -> bool:
        """For fleets that fall apart."""
        return failure_type is FailureType.NETWORK_PARTITION

    def recover(self, failure: FailureEvent, context: Context) -> Result:
        """Freeze; wait; reconcile; thaw."""
        minority = nodes_of(failure.component)
        frozen = self._tell_all(context, "freeze", CommandKind.READ_ONLY, minority)
        for node_id, problem in frozen["problems"].items():
            # It reaches neither its peers nor the brokers: then it has fenced itself.
            context.note("freeze.unanswered", f"{node_id}: {problem}", node_id=node_id)
        if not context.wait_for(lambda: context.cleared, self._patience_s):
            context.escalate(
                f"{', '.join(minority)} are cut off from the other nodes and read-only; restore "
                "their links, and they go on by themselves"
            )
            context.wait_for(lambda: context.cleared, _LONGEST_S)
        items = self._reconcile(context, minority)
        thawed = self._thaw(context, minority)
        bad = [item for item in items if not item.ok]
        problems = [f"{node}: {why}" for node, why in thawed["problems"].items()]
        return Result(
            success=not bad and not problems,
            message=f"{len(items)} agents of {', '.join(minority)} compared with the log; "
            f"{sum('reconciled' in i.error for i in items if i.ok)} reconciled",
            error="; ".join([*(f"{i.agent_id}: {i.error}" for i in bad[:5]), *problems]),
            items=tuple(items),
            healing=True,
        )

    def _tell_all(
        self, context: Context, name: str, kind: CommandKind, node_ids: Sequence[str]
    ) -> dict[str, Any]:
        def act(detail: dict[str, Any]) -> dict[str, Any]:
            commands = [
                command
                for node_id in detail["nodes"]
                for command in context.command(node_id, kind, name=name, expires_in_s=600.0)
            ]
            context.ask(commands, _ANSWER_S, lambda: not self._open(context, commands))
            return {**detail, "problems": dict(self._problems(context, commands))}

        done: dict[str, Any] = context.step(name, act, lambda: {"nodes": list(node_ids)})
        return done

    @staticmethod
    def _open(context: Context, commands: Sequence[Command]) -> bool:
        """Whether an answer is still to be expected of somebody."""
        live = {n.node_id for n in context.world.nodes() if n.present}
        return any(not context.final(c) and c.node_id in live for c in commands)

    @staticmethod
    def _problems(context: Context, commands: Sequence[Command]) -> Iterable[tuple[str, str]]:
        for command in commands:
            final = [r for r in context.world.replies(command.command_id) if r.final]
            if not final:
                yield command.node_id, "no answer"
            elif not final[-1].ok:
                yield command.node_id, final[-1].error or "refused"

    def _reconcile(self, context: Context, minority: Sequence[str]) -> list[RecoveryItem]:
        """Have every node of the minority say what it has, and hold it to the log."""
        items: list[RecoveryItem] = []
        for node_id in minority:
            if context.world.life(node_id) is not None:
                items += self._reconcile_one(context, node_id)
        context.journal.update(items=items)
        return items

    def _reconcile_one(self, context: Context, node_id: str) -> list[RecoveryItem]:
        done = context.step(
            f"compare.{node_id}",
            lambda detail: self._compare(context, node_id, detail["agents"]),
            lambda: {"agents": self._agents(context, node_id)},
        )
        was: dict[str, str] = done["diverged"]
        now: dict[str, str] = {}
        if was:
            now = context.step(
                f"reconcile.{node_id}",
                lambda _: {"left": self._restart(context, node_id, sorted(was))},
            )["left"]
        return [
            RecoveryItem(
                agent_id=agent,
                ok=agent not in now,
                node_id=node_id,
                error=now.get(agent) or (f"reconciled: {was[agent]}" if agent in was else ""),
            )
            for agent in done["agents"]
        ]

    @staticmethod
    def _agents(context: Context, node_id: str) -> list[str]:
        life = context.world.life(node_id)
        return [] if life is None else sorted(life.agents)

    def _compare(self, context: Context, node_id: str, agents: Sequence[str]) -> dict[str, Any]:
        """Which agents of a node are not what the log says, and how."""
        commands = context.command(
            node_id, CommandKind.VERIFY, [(a, "") for a in agents], name="compare"
        )
        if not agents:
            return {"agents": [], "diverged": {}}
        replies = context.ask(
            commands, _ANSWER_S + 0.05 * len(agents), lambda: not self._open(context, commands)
        )
        answers = Answers(commands, replies)
        diverged = {a: why for a in agents if (why := self._unlike(context, a, answers, node_id))}
        return {"agents": list(agents), "diverged": diverged}

    @staticmethod
    def _unlike(context: Context, agent: str, answers: Answers, node_id: str) -> str:
        route = context.world.route(agent)
        if route is not None and route.node_id != node_id:
            return ""  # somebody else has it, as the log says, and its old node knows or will
        said = answers.details.get(agent, {})
        if agent not in answers.ok:
            return answers.errors.get(agent, "it says nothing of it")
        try:
            expected = context.client.at(agent, int(said["version"])).state_hash.hex()
        except AgentNotFound:
            return "the log knows no such agent"
        if said.get("state_hash") != expected:
            return f"another state than the log's at version {said['version']}"
        return ""

    def _restart(self, context: Context, node_id: str, agents: Sequence[str]) -> dict[str, str]:
        """Have agents go on from what the log says; which of them still do not."""
        commands = context.command(
            node_id, CommandKind.RESTART, [(a, "") for a in agents], name="reconcile"
        )
        answers = Answers(
            commands,
            context.ask(
                commands, _ANSWER_S + 0.05 * len(agents), lambda: not self._open(context, commands)
            ),
        )
        return {agent: answers.errors[agent] for agent in agents if agent in answers.errors}

    def _thaw(self, context: Context, minority: Sequence[str]) -> dict[str, Any]:
        """Normal work is resumed, but for nodes that another partition still cuts off."""
        frozen = context.world.frozen()
        ours = context.failure.failure_id
        nodes = context.world.nodes()
        live = {node.node_id for node in nodes if node.present}
        free = [n for n in minority if n in live and not frozen.get(n, set()) - {ours}]
        return self._tell_all(context, "thaw", CommandKind.READ_WRITE, free)
