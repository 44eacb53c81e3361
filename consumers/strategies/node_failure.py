"""NODE_FAILURE: every agent of the node goes on elsewhere, from its latest state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headwater.fleet.records import FailureEvent, FailureType, NodeMode, RouteStatus

from .context import Context
from .moving import TO_RUN, Mover, Place, Places
from .quarantine import LIMIT, judge
from .strategy import Result

# Targets that fail meanwhile are left out in the next round.
_ROUNDS = 4
# A step's record must fit into a message, with all agents that it is about.
_WAVE = 5000
# How long agents wait for a node that could run them before a person is told, and after.
_PATIENCE_S = 10.0
_LONGEST_S = 3600.0
_FOUND = "found"


class NodeFailure:
    """Marks the node unavailable, chooses the best target for each of its agents, and has them
    started there; targets that fail are left out when the rest is tried again. An agent that
    brought down ``limit`` nodes in a row is quarantined.
    """

    name = "node-failure"
    priority = 100

    def __init__(self, limit: int = LIMIT, *, patience_s: float = _PATIENCE_S) -> None:
        self._limit = limit
        self._patience_s = patience_s

    def can_handle(self, failure_type: FailureType) -> bool:
        """For failed nodes."""
        return failure_type is FailureType.NODE_FAILURE

    def recover(self, failure: FailureEvent, context: Context) -> Result:
        """Move the agents."""
        node_id = failure.component.removeprefix("node:")
        incarnation = incarnation_of(failure)
        places, found = self._found(context, node_id, incarnation)
        life = context.world.life(node_id)
        back = life is not None and bool(incarnation) and life.incarnation != incarnation
        mover = Mover(context, places, gone=() if back else (node_id,))
        quarantined, trial = set(found["quarantined"]), set(found["trial"])
        simple = [agent for agent in places if agent not in quarantined | trial]
        if back:
            # It takes those up itself that are not to blame for its end.
            proved = set(found["proved"])
            own = [agent for agent in simple if agent in proved]
            context.wait_for(
                lambda: all(map(mover.elsewhere, own)) or context.world.life(node_id) is not life,
                self._patience_s,
            )
            mover.look(simple)
            simple = [agent for agent in simple if agent not in mover.moved]
        for wave, at in enumerate(range(0, len(simple), _WAVE)):
            self._move(context, mover, simple[at : at + _WAVE], f".wave-{wave}" if wave else "")
        if quarantined:
            self._quarantine(context, node_id, mover, sorted(quarantined))
        if trial:
            mover.look(trial)
            mover.move_one_by_one("trial", sorted(trial - mover.moved))
        return self._result(context, node_id, mover, quarantined)

    def _found(
        self, context: Context, node_id: str, incarnation: bytes
    ) -> tuple[Places, dict[str, Any]]:
        """The agents that have to move, and which of them are not simply moved: as recorded by the
        first attempt, and what was found since.
        """
        journal = context.journal
        known = journal.step(_FOUND)
        places = places_of(known.detail["agents"]) if known is not None else {}
        late = {a: p for a, p in affected(context, node_id, incarnation).items() if a not in places}
        if known is None:
            life = context.world.life(node_id, incarnation)
            steps = {a: r.step for a, r in life.agents.items()} if life is not None else {}
            # Of a process of which nothing is known any more nobody can be blamed; nor can agents
            # that rest.
            judged = [a for a in late if life is not None and not _is_paused(context, a)]
            verdict = judge(judged, steps, context.world.strikes(), self._limit)
            detail = {
                # Of more than that, whoever goes on finds the rest anew.
                "agents": msgspec.to_builtins(dict(list(late.items())[:_WAVE])),
                "strikes": verdict.strikes,
                "quarantined": list(verdict.quarantined),
                "trial": list(verdict.trial),
                "proved": [agent for agent in late if steps.get(agent, 0) > 0][:_WAVE],
            }
            journal.note(_FOUND, detail)
            context.note(
                "node.unavailable",
                f"node {node_id} gets no agents; {len(late)} have to move",
                agents=len(late),
                strikes=verdict.strikes,
            )
            return late, detail
        return {**places, **late}, known.detail

    def _move(self, context: Context, mover: Mover, agents: Sequence[str], suffix: str) -> None:
        told = False
        for turn in range(1, _ROUNDS + 1):
            if turn > 1:
                mover.look(agents)
            left = [agent for agent in agents if agent not in mover.moved]
            name = f"move.{turn}{suffix}"
            if not left:
                return
            # The first time at once: the common case must not wait for the rare one.
            if turn > 1 and not context.begun(name) and not self._targets(mover, left):
                if mover.tried_in_vain(left):
                    return
                told = self._await_capacity(context, mover, left, told)
            mover.move(name, left)

    def _await_capacity(
        self, context: Context, mover: Mover, agents: Sequence[str], told: bool
    ) -> bool:
        """Wait until some node can take some of the agents; a person is told if that takes long."""
        if context.wait_for(lambda: self._targets(mover, agents), self._patience_s) or told:
            return told
        why = next(iter(mover.plan(agents)["refused"].values()), "no node takes them")
        context.escalate(
            f"{len(agents)} agents of {context.failure.component} wait for a node: {why}; start "
            "one, and they go on by themselves"
        )
        context.wait_for(lambda: context.cleared or self._targets(mover, agents), _LONGEST_S)
        return True

    @staticmethod
    def _targets(mover: Mover, agents: Sequence[str]) -> bool:
        if any(mover.elsewhere(agent) for agent in agents):
            return True
        return bool(mover.plan(agents)["targets"])

    def _quarantine(
        self, context: Context, node_id: str, mover: Mover, agents: Sequence[str]
    ) -> None:
        why = f"{self._limit} nodes in a row failed before it completed a step there"

        def act(detail: dict[str, Any]) -> dict[str, Any]:
            for agent in detail["agents"]:
                route = context.world.route(agent)
                if route is not None and route.status in TO_RUN and not mover.elsewhere(agent):
                    context.publish_route(
                        msgspec.structs.replace(route, status=RouteStatus.QUARANTINED, reason=why)
                    )
                    context.note("agent.quarantined", f"agent {agent}: {why}", agent_id=agent)
            return detail

        context.step("quarantine", act, lambda: {"agents": list(agents)})
        for agent in agents:
            mover.fail(agent, f"quarantined: {why}")
        mover.look(agents)

    def _result(
        self, context: Context, node_id: str, mover: Mover, quarantined: set[str]
    ) -> Result:
        mover.look(mover.places)
        errors = mover.errors()
        left = {agent: error for agent, error in errors.items() if agent not in quarantined}
        context.measure(agents=len(mover.places), moved=len(mover.moved))
        kept = quarantined & set(errors)
        if not left and (not kept or context.after_person):
            return Result(
                success=True,
                message=f"{len(mover.moved)} agents of {node_id} go on elsewhere",
                items=tuple(mover.items),
            )
        said = f"{len(mover.moved)} of {len(mover.places)} agents of {node_id} go on elsewhere"
        if kept:
            said += f"; quarantined: {', '.join(sorted(kept))}"
        reasons = sorted(set(left.values())) or sorted({errors[agent] for agent in kept})
        return Result(
            success=False,
            message=said,
            error="; ".join(reasons[:5]),
            items=tuple(mover.items),
            again=bool(left),
        )


def _is_paused(context: Context, agent: str) -> bool:
    route = context.world.route(agent)
    return route is not None and route.status is RouteStatus.PAUSED


def affected(context: Context, node_id: str, incarnation: bytes) -> Places:
    """The agents that a process of a node had: those whose routes lead there, those that its
    heartbeats told of before their routes did, and those that it had just been told to start.
    """
    world = context.world
    latest = world.life(node_id)
    back = latest is not None and bool(incarnation) and latest.incarnation != incarnation
    until_s = latest.first_s if latest is not None and back else float("inf")
    # Of the processes before it some may have failed, too, before anybody took their agents over.
    new = latest.incarnation if latest is not None and back else None
    found = {
        route.agent_id: Place.of(route)
        for route in world.routes(node_id)
        if route.status in TO_RUN and route.incarnation != new
    }
    life = world.life(node_id, incarnation)
    if life is not None and life.mode is not NodeMode.CLIENT:
        for agent, report in life.agents.items():
            if agent not in found and world.route(agent) is None:
                found[agent] = Place(report.kind, report.epoch)
    for agent, kind in world.starting(node_id, until_s).items():
        route = world.route(agent)
        if agent not in found and route is not None and route.status in TO_RUN:
            found[agent] = Place(kind or route.kind, route.epoch)
    return found


def incarnation_of(failure: FailureEvent) -> bytes:
    """The process that failed, where the detector names it; else empty."""
    try:
        return bytes.fromhex(str(failure.context.get("incarnation", "")))
    except ValueError:
        return b""


def places_of(recorded: dict[str, Any]) -> Places:
    """Agents and where they were, as a step has them."""
    return {agent: Place(*fields) for agent, fields in recorded.items()}
