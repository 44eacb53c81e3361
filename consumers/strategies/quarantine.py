"""Agents that bring down the nodes that they land on: pure.

An agent gets a strike for a node that failed before the agent completed a step there, and is
quarantined once it has ``limit`` of them in a row. Others that had just moved along with it get
strikes too; so those that are one strike short are started one at a time on each node, and the
next node that fails has only one of them to blame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LIMIT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of the agents of a node that failed.

    ``strikes`` are those that changed, 0 where an agent has proved itself. ``quarantined`` are not
    moved again; ``trial`` are started one at a time; all others are simply moved.
    """

    strikes: dict[str, int] = field(default_factory=dict)
    quarantined: tuple[str, ...] = ()
    trial: tuple[str, ...] = ()


def judge(
    agents: Iterable[str],
    completed: Mapping[str, int],
    strikes: Mapping[str, int],
    limit: int = LIMIT,
) -> Verdict:
    """Judge the agents of a node that failed: ``completed`` steps there, as its last heartbeats
    told, and ``strikes`` so far. With ``limit`` 0 nobody is quarantined.
    """
    changed: dict[str, int] = {}
    quarantined, trial = [], []
    for agent in sorted(agents):
        before = strikes.get(agent, 0)
        now = 0 if completed.get(agent, 0) > 0 else before + 1
        if now != before:
            changed[agent] = now
        if limit and now >= limit:
            quarantined.append(agent)
        elif limit > 1 and now == limit - 1:
            trial.append(agent)
    # One alone needs no order among them.
    return Verdict(
        strikes=changed,
        quarantined=tuple(quarantined),
        trial=tuple(trial) if len(trial) > 1 else (),
    )
