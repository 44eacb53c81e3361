"""DATA_INCONSISTENCY: somebody has another state of an agent than the log gives.

The agent is frozen, rebuilt from the log, proved by its owner's own word against an independent
replay, and published again as a whole; only then does it go on.
"""

from __future__ import annotations

from typing import Any

from headwater.errors import AgentNotFound, RetryableError
from headwater.fleet.records import CommandKind, FailureEvent, FailureType, RecoveryItem

from .context import Context
from .corruption import republish
from .hosted import agent_of, running, start, stop, tell
from .strategy import Result


class NotProved(RetryableError):
    """The owner's state is still another one than the log's."""


class Inconsistency:
    """Freezes the agent, rebuilds it from the log, proves it, and publishes it again."""

    name = "data-inconsistency"
    priority = 100

    def can_handle(self, failure_type: FailureType) -> bool:
        """For states that differ from the log's."""
        return failure_type is FailureType.DATA_INCONSISTENCY

    def recover(self, failure: FailureEvent, context: Context) -> Result:
        """Freeze, rebuild, prove, republish."""
        agent = agent_of(failure.component)
        route = running(context, agent)
        if route is not None:
            tell(context, "freeze", CommandKind.READ_ONLY, agent, route.node_id)
        try:
            replayed = context.step("replay", lambda _: self._replay(context, agent))
        except AgentNotFound:
            return Result(success=True, message=f"{agent} was deleted meanwhile")
        place = stop(context, agent)
        rebuilt = context.step("republish", lambda _: {"version": republish(context.client, agent)})
        item = start(context, agent, place)
        if place is not None and item.ok:
            self._prove(context, agent, item.node_id)
        context.measure(version=float(rebuilt["version"]))
        return Result(
            success=item.ok,
            message=f"{agent} was rebuilt from the log (version {replayed['version']}), proved, "
            "and published again",
            error=item.error,
            items=(RecoveryItem(
                agent_id=agent, ok=item.ok, node_id=item.node_id, error=item.error
            ),),
        )  # fmt: skip

    @staticmethod
    def _replay(context: Context, agent: str) -> dict[str, Any]:
        found = context.client.recover(agent, upgrade=False)
        return {"version": found.version, "hash": found.state_hash.hex()}

    @staticmethod
    def _prove(context: Context, agent: str, node_id: str) -> None:
        said = tell(context, "verify", CommandKind.VERIFY, agent, node_id)
        if not said["ok"]:
            raise NotProved(f"{node_id} does not say what it has: {said['error']}")
        version = int(said["version"])
        expected = context.client.at(agent, version).state_hash.hex()
        if said.get("state_hash") != expected:
            raise NotProved(
                f"{node_id} has {said.get('hash')} at version {version} of agent {agent!r}, and "
                f"the log gives {expected}"
            )
