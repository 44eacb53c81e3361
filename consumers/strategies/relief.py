"""Takes agents from a node that lives, and has others go on with them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from headwater.fleet.records import CommandKind, RecoveryItem

from .context import Answers, Context, unanswered
from .moving import Mover, Place, Places
from .targets import Moving, choose_targets

_ANSWER_S = 30.0


def places_on(context: Context, node_id: str, agents: Collection[str]) -> Places:
    """Where agents are, of those that a node still has."""
    return {r.agent_id: Place.of(r) for r in context.world.routes(node_id) if r.agent_id in agents}


def give_away(
    context: Context, name: str, node_id: str, agents: Sequence[str]
) -> list[RecoveryItem]:
    """A step: have a node hand agents over to the others; those that found no target stay where
    they are. What became of each agent.
    """

    def detail() -> dict[str, Any]:
        places = places_on(context, node_id, set(agents))
        plan = Mover(context, places, gone={node_id}).plan(places)
        return {"targets": plan["targets"], "refused": plan["refused"]}

    def act(detail: dict[str, Any]) -> dict[str, Any]:
        world = context.world
        commands = []
        for target, moving in sorted(detail["targets"].items()):
            kinds = [(a, "" if (r := world.route(a)) is None else r.kind) for a in moving]
            commands += context.command(
                node_id, CommandKind.MIGRATE, kinds, name=name, arguments={"target": target}
            )
        answers = Answers(commands, context.ask(commands, _ANSWER_S))
        at = {a.agent_id: c.arguments["target"] for c in commands for a in c.agents}
        return {
            "moved": {agent: target for agent, target in at.items() if agent in answers.ok},
            "errors": {**answers.errors, **detail["refused"]},
        }

    done = context.step(name, act, detail)
    items = [RecoveryItem(agent_id=a, ok=True, node_id=n) for a, n in done["moved"].items()]
    items += [
        RecoveryItem(agent_id=a, ok=False, node_id=node_id, error=e)
        for a, e in done["errors"].items()
    ]
    context.journal.update(items=[*context.journal.result.items, *items])
    return items


def throttle(context: Context, name: str, node_ids: Sequence[str], rate: float) -> str:
    """A step: bound the steps per second of nodes' agents (0: no bound any more); why not all of
    them obeyed.
    """

    def act(detail: dict[str, Any]) -> dict[str, Any]:
        commands = [
            command
            for node_id in detail["nodes"]
            for command in context.command(
                node_id, CommandKind.THROTTLE, name=name, arguments={"rate": rate}
            )
        ]
        return {**detail, "problem": unanswered(commands, context.ask(commands, _ANSWER_S))}

    done = context.step(name, act, lambda: {"nodes": list(node_ids), "rate": rate})
    return str(done["problem"])


def can_take(context: Context, node_id: str, agents: Sequence[str], now_ms: int) -> bool:
    """Whether there is another node for any of a node's agents."""
    places = places_on(context, node_id, set(agents))
    moving = [Moving(agent_id=a, kind=p.kind) for a, p in places.items()]
    gone = {node_id} | context.world.exhausted()
    return bool(choose_targets(moving, context.world.nodes(), now_ms, gone=gone).targets)
