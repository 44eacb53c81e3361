"""Agents that bring down the nodes that they land on: pure.

An agent gets a strike for a node that failed before the agent completed a step there, and is
quarantined once it has ``limit`` of them in a row. Others that had just moved along with it get
strikes too; so those that are one strike short are started one at a time on each node, and a node
that fails then has only one of them to blame. Where chance had put two of them there all the same,
neither is quarantined for it, unless it has twice as many.
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
    now = {a: 0 if completed.get(a, 0) > 0 else strikes.get(a, 0) + 1 for a in sorted(agents)}
    verdict = {a: count for a, count in now.items() if count != strikes.get(a, 0)}
    if not limit:
        return Verdict(strikes=verdict)
    to_blame = [agent for agent, count in now.items() if count >= limit]
    out = [a for a in to_blame if len(to_blame) == 1 or now[a] >= 2 * limit]
    short = [a for a, count in now.items() if count >= max(1, limit - 1) and a not in out]
    return Verdict(strikes=verdict, quarantined=tuple(out), trial=tuple(short))
