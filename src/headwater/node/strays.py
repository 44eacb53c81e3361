"""Agents that are nobody's although their route leads to this node: they are taken up again.

Whoever moves an agent has it given up first, and its route changes with the next claim only; if he
dies in between, or finds no other node, the agent would run nowhere and nobody would be silent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from headwater.clock import Clock, suspended_clock
from headwater.fleet.records import Route, RouteStatus
from headwater.log.fold import Head

PATIENCE_S = 30.0
"""A move may take its time, and is nobody's to disturb."""

_LOOK_S = 5.0


class Strays:
    """Looks for them every few seconds. ``mine`` are the routes that lead here, ``has`` says
    whether the node has an agent, ``head`` reads where an agent's log ends, ``take`` takes agents.
    """

    def __init__(
        self,
        mine: Callable[[], Iterable[Route]],
        has: Callable[[str], bool],
        head: Callable[[str], Head],
        take: Callable[[list[Route]], None],
        node_id: str,
        clock: Clock = suspended_clock,
    ) -> None:
        self._mine = mine
        self._has = has
        self._head = head
        self._take = take
        self._node_id = node_id
        self._clock = clock
        self._since: dict[tuple[str, int], float] = {}

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        while not stop.wait(_LOOK_S):
            self.look()

    def look(self) -> None:
        """Take those up that have been missing for long, unless somebody owns them."""
        now_s = self._clock()
        missing = {
            (route.agent_id, route.epoch): route
            for route in self._mine()
            if route.status in (RouteStatus.RUNNING, RouteStatus.PAUSED)
            and not self._has(route.agent_id)
        }
        self._since = {key: self._since.get(key, now_s) for key in missing}
        late = [missing[key] for key, at_s in self._since.items() if now_s - at_s >= PATIENCE_S]
        strays = [route for route in late if self._is_nobodys(route.agent_id)]
        for route in late:
            # One that is somebody's, or that cannot be taken now, is looked at again as late.
            self._since[route.agent_id, route.epoch] = now_s
        if strays:
            self._take(strays)

    def _is_nobodys(self, agent_id: str) -> bool:
        head = self._head(agent_id)
        if head.deleted:
            return False
        # A process of this name that had it has ended.
        return not head.owned or head.node_id == self._node_id
