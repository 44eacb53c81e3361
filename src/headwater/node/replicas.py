"""Warm replicas: agents of other nodes, kept current, so that taking them over reads only a tail.

A node keeps those of which it is the first by rendezvous hashing among the live nodes that do not
own them: each agent has one replica, wherever nodes come and go, and nobody has to agree on it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace

from headwater.client import Client
from headwater.clock import suspended_clock
from headwater.errors import HeadwaterError
from headwater.fleet.placement import first
from headwater.fleet.records import RouteStatus
from headwater.node.fleet import Fleet
from headwater.recovery import Recovered
from headwater.recovery.bulk import recover_many
from headwater.recovery.recover import Tail
from headwater.state.values import copy_value, pack

log = logging.getLogger("headwater.node")

_EVERY_S = 1.0
_AT_ONCE = 250
# When a node goes, others have agents to take over first, and those may go on elsewhere yet.
_CALM_S = 3.0
# One for which there was no room is not read again before.
_FULL_S = 60.0


class Replicas:
    """At most ``limit`` replicas of at most ``limit_bytes`` altogether."""

    def __init__(self, client: Client, fleet: Fleet, limit: int, limit_bytes: int) -> None:
        self._client = client
        self._recovery = client._recovery
        self._fleet = fleet
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._kept: dict[str, Recovered] = {}
        self._sizes: dict[str, int] = {}
        self._bytes = 0
        self._wanted_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, agent_id: str) -> Recovered | None:
        """A replica, to be looked at."""
        with self._lock:
            found = self._kept.get(agent_id)
            if found is None:
                return None
            # The one that is kept goes on with the log.
            agent = replace(found.agent, document=copy_value(found.agent.document))
            return replace(found, agent=agent)

    def give(self, agent_ids: Iterable[str]) -> Mapping[str, Recovered]:
        """The replicas that there are of these, the caller's from now on."""
        with self._lock:
            given = {i: self._kept[i] for i in agent_ids if i in self._kept}
            for agent_id in given:
                self._drop(agent_id)
            return given

    def run(self, stop: threading.Event) -> None:
        """Keep them until told to stop."""
        while self._limit > 0 and not stop.wait(_EVERY_S):
            self._choose()
            self._advance()

    def _choose(self) -> None:
        wanted, now_s = self._wanted(), suspended_clock()
        self._wanted_s = {agent: self._wanted_s.get(agent, now_s) for agent in wanted}
        with self._lock:
            for agent_id in self._kept.keys() - wanted.keys():
                self._drop(agent_id)
            missing = [
                agent
                for agent, since_s in self._wanted_s.items()
                if agent not in self._kept and now_s - since_s >= _CALM_S
            ][:_AT_ONCE]
        for found in recover_many(self._recovery, missing) if missing else ():
            if isinstance(found, Recovered):
                with self._lock:
                    if not self._keep(found):
                        self._wanted_s[found.agent_id] = now_s + _FULL_S
            else:
                log.debug("no replica of agent %s: %s", found.agent_id, found.error)

    def _wanted(self) -> dict[str, str]:
        """The agents whose replica is this node's to keep, and who owns them."""
        me = self._client.node_id
        nodes = {life.node_id for life in self._fleet.live()} | {me}
        wanted: dict[str, str] = {}
        for route in self._fleet.routes():
            runs = route.status in (RouteStatus.RUNNING, RouteStatus.PAUSED)
            if not runs or route.node_id == me:
                continue
            if first(route.agent_id, nodes - {route.node_id}) == me:
                wanted[route.agent_id] = route.node_id
                if len(wanted) >= self._limit:
                    break
        return wanted

    def _advance(self) -> None:
        with self._lock:
            kept = list(self._kept.values())
        try:
            # Read without the lock: whoever takes one over meanwhile reads on by itself.
            for tails in self._recovery.tails(kept):
                with self._lock:
                    for tail in tails:
                        if self._kept.get(tail.recovered.agent_id) is tail.recovered:
                            self._follow(tail)
        except HeadwaterError as error:
            log.debug("replicas were not read on: %s", error)

    def _follow(self, tail: Tail) -> None:
        agent_id = tail.recovered.agent_id
        if tail.messages is None:
            self._drop(agent_id)
            return
        try:
            found = self._recovery.follow(tail)
        except HeadwaterError as error:
            log.debug("the replica of agent %s is read again: %s", agent_id, error)
            self._drop(agent_id)
            return
        if not tail.messages:
            self._kept[agent_id] = found
            return
        self._drop(agent_id)
        if not found.head.deleted:
            self._keep(found)

    def _keep(self, found: Recovered) -> bool:
        """Whether there was room for it."""
        agent_id, size = found.agent_id, len(pack(found.agent.document))
        if self._bytes + size > self._limit_bytes:
            return False
        self._kept[agent_id], self._sizes[agent_id] = found, size
        self._bytes += size
        return True

    def _drop(self, agent_id: str) -> None:
        del self._kept[agent_id]
        self._bytes -= self._sizes.pop(agent_id)
