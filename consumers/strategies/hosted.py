"""What strategies do with single agents: find them, stop them, have them started again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from headwater.errors import TerminalError, Unavailable
from headwater.fleet.records import AgentReport, CommandKind, RecoveryItem, Route, RouteStatus

from .context import Answers, Context
from .moving import TO_RUN, Mover, Place

_ANSWER_S = 15.0


class NoAgent(TerminalError):
    """A failure is of no agent, so nothing can be done about one."""


def agent_of(component: str) -> str:
    """The agent that a component ``agent:ID`` names. Raises :class:`NoAgent` for others."""
    if not component.startswith("agent:"):
        raise NoAgent(f"{component} is no agent: only a person can put that right")
    return component.removeprefix("agent:")


def running(context: Context, agent: str) -> Route | None:
    """The route of an agent that is to run on a node that is there; None where there is none."""
    route = context.world.route(agent)
    if route is None or route.status not in TO_RUN:
        return None
    present = {node.node_id for node in context.world.nodes() if node.present}
    return route if route.node_id in present else None


def report_of(context: Context, agent: str) -> AgentReport | None:
    """An agent as its node told last."""
    route = context.world.route(agent)
    life = None if route is None else context.world.life(route.node_id)
    return None if life is None else life.agents.get(agent)


def tell(
    context: Context,
    name: str,
    kind: CommandKind,
    agent: str,
    node_id: str,
    arguments: Mapping[str, Any] | None = None,
    timeout_s: float = _ANSWER_S,
) -> dict[str, Any]:
    """A step: tell a node something about an agent, and say how it answered: ``ok``, ``error``,
    ``epoch``, ``version``, and whatever else the answer holds.
    """

    def act(detail: dict[str, Any]) -> dict[str, Any]:
        route = context.world.route(agent)
        sort = "" if route is None else route.kind
        commands = context.command(
            detail["node_id"], kind, [(agent, sort)], name=name, arguments=arguments
        )
        answers = Answers(commands, context.ask(commands, timeout_s))
        return {
            **detail,
            **answers.details.get(agent, {}),
            "ok": agent in answers.ok,
            "error": answers.errors.get(agent, ""),
        }

    told: dict[str, Any] = context.step(
        name, act, lambda: {"node_id": node_id, "command": kind.value}
    )
    return told


def stop(context: Context, agent: str) -> Place | None:
    """A step: have the node that runs an agent give it up, so that it can be put right; where it
    ran, or None where no node did. Raises :class:`Unavailable` where its node does not.
    """
    route = context.world.route(agent)

    def act(detail: dict[str, Any]) -> dict[str, Any]:
        if not detail["node_id"]:
            return detail
        commands = context.command(
            detail["node_id"],
            CommandKind.STOP,
            [(agent, detail["kind"])],
            name="stop",
            arguments={"handover": True, "grace_s": 1.0},
        )
        answers = Answers(commands, context.ask(commands, _ANSWER_S))
        # An attempt before this one may have stopped it, and the route stays until it is claimed.
        stopped = agent in answers.ok or answers.details.get(agent, {}).get("absent", False)
        if not stopped and running(context, agent) is not None:
            raise Unavailable(f"agent {agent!r} was not stopped: {answers.errors.get(agent)}")
        return detail

    def detail() -> dict[str, Any]:
        found = running(context, agent)
        if found is None:
            to_run = route is not None and route.status in TO_RUN
            return {"node_id": "", "kind": route.kind if route and to_run else "", "epoch": 0}
        return {"node_id": found.node_id, "kind": found.kind, "epoch": found.epoch}

    done = context.step("stop", act, detail)
    return Place(done["kind"], done["epoch"]) if done["kind"] else None


def start(
    context: Context, agent: str, place: Place | None, *, gone: Collection[str] = ()
) -> RecoveryItem:
    """A step: have an agent that was stopped started where it does best."""
    if place is None:
        return RecoveryItem(agent_id=agent, ok=True)
    mover = Mover(context, {agent: place}, gone=gone)
    for turn in (1, 2, 3):
        mover.move(f"start.{turn}", [agent])
        if agent in mover.moved:
            break
    return mover.items[0]


def went_on(report: AgentReport | None, before: Mapping[str, Any]) -> bool:
    """Whether an agent has completed a step, or changed its state, since ``before``, which has its
    epoch, step and version.
    """
    if report is None:
        return False
    if report.epoch > int(before.get("epoch", 0)):
        return report.step > 0
    return report.step > int(before.get("step", 0)) or report.version > int(
        before.get("version", 0)
    )


def is_to_run(context: Context, agent: str) -> bool:
    """Whether some node is to run an agent."""
    route = context.world.route(agent)
    return route is not None and route.status in TO_RUN


def is_done(context: Context, agent: str) -> bool:
    """Whether an agent has nothing more to do, or was told to stop."""
    route = context.world.route(agent)
    return route is not None and route.status in (RouteStatus.DONE, RouteStatus.STOPPED)


def once(context: Context, name: str, act: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """A step that needs nothing recorded before it."""
    done: dict[str, Any] = context.step(name, lambda _: act())
    return done
