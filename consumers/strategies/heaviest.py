"""Which agents a node gives away, so that it has less to carry: pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headwater.fleet.records import AgentMode, AgentReport

# What an agent costs beside its state: session, task, buffers.
_BASE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Shed:
    """How much a node gives away: down to ``goal`` of its share, but never more than ``most`` of
    its agents at a time.
    """

    goal: float = 0.7
    most: float = 0.5


def weight_of(agent: AgentReport) -> int:
    """What an agent weighs, in bytes."""
    return agent.size_bytes + _BASE_BYTES


def heaviest(agents: Iterable[AgentReport], share: float, shed: Shed | None = None) -> list[str]:
    """The agents to give away, the heaviest first, by a node that uses ``share`` of something.

    What agents weigh is taken to be all that can be shed: to go from ``share`` to the goal, as
    large a part of the agents' weight goes. At least one goes, where there are any.
    """
    shed = shed or Shed()
    movable = [a for a in agents if a.state not in (AgentMode.DONE, AgentMode.GONE)]
    movable.sort(key=lambda a: (-weight_of(a), a.agent_id))
    if not movable or share <= shed.goal:
        return []
    wanted = sum(map(weight_of, movable)) * (share - shed.goal) / share
    most = max(1, int(len(movable) * shed.most))
    chosen: list[str] = []
    given = 0
    for agent in movable:
        if len(chosen) >= most or (chosen and given >= wanted):
            break
        chosen.append(agent.agent_id)
        given += weight_of(agent)
    return chosen
