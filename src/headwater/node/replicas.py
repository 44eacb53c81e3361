"""Warm replicas: agents of other nodes, kept current, so that taking them over reads only a tail.

A node keeps those of which it is the first by rendezvous hashing among the live nodes that do not
own them: each agent has one replica, wherever nodes come and go, and nobody has to agree on it.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from headwater.client import Client
from headwater.errors import HeadwaterError
from headwater.fleet.placement import first
from headwater.fleet.records import RouteStatus
from headwater.node.fleet import Fleet
from headwater.recovery import Recovered
from headwater.recovery.bulk import recover_many
from headwater.state.values import copy_value, pack

log = logging.getLogger("headwater.node")

_EVERY_S = 1.0
_AT_ONCE = 50


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
            given = {i: self._kept.pop(i) for i in agent_ids if i in self._kept}
            for agent_id in given:
                self._sizes.pop(agent_id, None)
            return given

    def run(self, stop: threading.Event) -> None:
        """Keep them until told to stop."""
        while self._limit > 0 and not stop.wait(_EVERY_S):
            self._choose()
            self._advance()

    def _choose(self) -> None:
        wanted = self._wanted()
        with self._lock:
            for agent_id in self._kept.keys() - wanted.keys():
                self._drop(agent_id)
            missing = [i for i in wanted if i not in self._kept][:_AT_ONCE]
        for found in recover_many(self._recovery, missing) if missing else ():
            if isinstance(found, Recovered):
                self._keep(found)
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
        groups: defaultdict[int, list[Recovered]] = defaultdict(list)
        with self._lock:
            for found in self._kept.values():
                groups[found.partition].append(found)
        for partition in list(groups):
            self._advance_group(groups[partition])

    def _advance_group(self, group: list[Recovered]) -> None:
        # Those that are being read on are nobody's meanwhile: a takeover then does without.
        with self._lock:
            mine = [r for r in group if self._kept.pop(r.agent_id, None) is r]
        if not mine:
            return
        try:
            following = self._recovery.advance_many(mine)
        except HeadwaterError as error:
            log.debug("replicas are read again: %s", error)
            return
        for found in following:
            if not found.head.deleted:
                self._keep(found, changed=found.tail_records > 0)

    def _keep(self, found: Recovered, *, changed: bool = True) -> None:
        agent_id = found.agent_id
        known = self._sizes.get(agent_id)
        size = len(pack(found.agent.document)) if changed or known is None else known
        with self._lock:
            others = sum(self._sizes[i] for i in self._kept)
            if others + size <= self._limit_bytes:
                self._kept[agent_id], self._sizes[agent_id] = found, size
            else:
                self._sizes.pop(agent_id, None)

    def _drop(self, agent_id: str) -> None:
        del self._kept[agent_id]
        self._sizes.pop(agent_id, None)
