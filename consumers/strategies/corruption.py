"""STATE_CORRUPTION: the agent is stopped, and goes on from the best state that can be proved.

In the order in which they lose least: what the log itself still proves; checkpoints; the replica;
the backup; and where nothing proves anything, a new instance, with a warning that says so.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from headwater.agent.whole import put_whole
from headwater.client import Client
from headwater.errors import (
    AgentNotFound,
    InvalidState,
    PointNotFound,
    Unprovable,
)
from headwater.fleet.records import FailureEvent, FailureType
from headwater.recovery import Recovered

from .context import Context
from .hosted import agent_of, start, stop
from .strategy import Result

_CLAIM = timedelta(seconds=20)
_NOT_TO_BE_HAD = (Unprovable, PointNotFound, InvalidState)


class Corruption:
    """Stops the agent, puts its state right, and has it started again."""

    name = "state-corruption"
    priority = 100

    def can_handle(self, failure_type: FailureType) -> bool:
        """For states that are not what they must be."""
        return failure_type is FailureType.STATE_CORRUPTION

    def recover(self, failure: FailureEvent, context: Context) -> Result:
        """Stop, restore, start."""
        agent = agent_of(failure.component)
        place = stop(context, agent)
        told = context.step("restore", lambda _: self._restore(context, agent, failure))
        if told["lost"]:
            context.note("state.lost", f"WARNING: {told['message']}", agent_id=agent)
        item = start(context, agent, place)
        context.measure(version=told["version"], versions_lost=told["lost"])
        return Result(
            success=item.ok,
            message=told["message"],
            error=item.error,
            items=(item,),
        )

    def _restore(self, context: Context, agent: str, failure: FailureEvent) -> dict[str, Any]:
        client = context.client
        bad = failure.context.get("version")
        try:
            found = client.recover(agent, upgrade=False)
        except AgentNotFound:
            return _told("gone", 0, 0, f"{agent} was deleted meanwhile")
        except Unprovable:
            return self._repair(context, agent)
        if failure.context.get("check") == "transitions" and bad is not None:
            return self._back_to(context, found, int(bad) - 1)
        # Something that is stored is damaged, and the log proves the state all the same. Written
        # again as a whole, it depends on nothing that came before.
        version = republish(client, agent)
        return _told("log", version, 0, f"{agent}: the log proves version {found.version}; "
                     "it was written again as a whole")  # fmt: skip

    def _repair(self, context: Context, agent: str) -> dict[str, Any]:
        repaired = context.client.repair(
            agent, reason=f"failure {context.failure.failure_id}", timeout=_CLAIM
        )
        lost = repaired.head - repaired.version
        layer = repaired.tried[-1].layer if repaired.tried else "log"
        context.note(
            "state.repaired",
            f"{agent} goes on from version {repaired.version} ({layer})",
            tried=[f"{a.layer} {a.version}: {a.refused}" for a in repaired.tried],
        )
        if repaired.version == 0 and repaired.head:
            said = (
                f"nothing proves any state of {agent}: it begins anew, and {lost} versions are "
                "lost; its events are in dead-letters"
            )
            return _told("new", 0, lost, said)
        said = f"{agent} goes on from version {repaired.version}"
        if lost:
            said += f", and the {lost} after it are lost; their events are in dead-letters"
        return _told(layer, repaired.version, lost, said)

    def _back_to(self, context: Context, found: Recovered, good: int) -> dict[str, Any]:
        """Put the state back to before a transition that must not have been."""
        client, agent = context.client, found.agent_id
        moments: list[tuple[str, int | str]] = [("version", good)]
        points = [c for c in client.checkpoints(agent) if c.version <= good]
        moments += [("checkpoint", c.checkpoint_id) for c in points]
        moments.append(("new", 0))
        refused = []
        for layer, moment in moments:
            try:
                restored = client.restore(
                    agent, moment, reason=f"failure {context.failure.failure_id}", timeout=_CLAIM
                )
            except _NOT_TO_BE_HAD as error:
                refused.append(f"{layer} {moment}: {error}")
                continue
            target = restored.target.version
            said = (
                f"{agent} is as it was at version {target}; what came after is kept by a checkpoint"
            )
            if not target and good:
                said = f"{agent} begins anew: no state before version {good + 1} can be had"
            return {**_told(layer, target, found.version - target, said), "refused": refused}
        raise Unprovable(f"no state of agent {agent!r} can be restored", refused)


def republish(client: Client, agent: str) -> int:
    """Write an agent's state, as the log proves it, again as a whole: all readers, snapshots and
    replicas then agree with it. The version after that.
    """
    before = client.recover(agent, upgrade=False)
    with client.agent(agent, session=before.state.session_id or None, timeout=_CLAIM) as session:
        head = session.recovered.head
        put_whole(
            session,
            session.recovered.agent.document,
            agent_id=agent,
            version=head.version,
            chain_hash=head.hash,
        )
        return session.version


def _told(layer: str, version: int, lost: int, message: str) -> dict[str, Any]:
    return {"layer": layer, "version": version, "lost": max(0, lost), "message": message}
