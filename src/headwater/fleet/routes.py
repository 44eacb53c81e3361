"""Who runs what: the table from agent to node and epoch, in the routes topic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from confluent_kafka import Message

from headwater.config import Config
from headwater.fleet.feed import Feed, decoded
from headwater.fleet.records import Route


class RouteTable:
    """The routes as records tell them, in whatever order those of different epochs come; pure.

    The highest epoch counts: a node that was overtaken cannot take a route back. Of records of one
    epoch the last counts, as its owner, or whoever stopped the agent, wrote it.
    """

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._by_node: defaultdict[str, set[str]] = defaultdict(set)

    def take(self, agent_id: str, route: Route | None) -> Route | None:
        """Take a record in; the route if the table is another one by it. None: the agent is
        forgotten.
        """
        known = self._routes.get(agent_id)
        if route is not None and known is not None and route.epoch < known.epoch:
            return None
        if known is not None:
            self._by_node[known.node_id].discard(agent_id)
            del self._routes[agent_id]
        if route is not None:
            self._routes[agent_id] = route
            self._by_node[route.node_id].add(agent_id)
        return route

    def get(self, agent_id: str) -> Route | None:
        """An agent's route, or None where there is none."""
        return self._routes.get(agent_id)

    def on(self, node_id: str) -> list[Route]:
        """The routes that lead to a node, in the order of their agents."""
        return [self._routes[agent] for agent in sorted(self._by_node.get(node_id, ()))]

    def all(self) -> list[Route]:
        """All routes, in the order of their agents."""
        return [self._routes[agent] for agent in sorted(self._routes)]

    def nodes(self) -> set[str]:
        """The nodes to which a route leads."""
        return {node for node, agents in self._by_node.items() if agents}

    def __len__(self) -> int:
        return len(self._routes)


class Routes(RouteTable):
    """The table, kept current by reading on; for one thread."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._feed = Feed(config, "routes")

    @property
    def caught_up(self) -> bool:
        """Whether everything was read that was there when this was made."""
        return self._feed.caught_up

    def has_read(self, partition: int, end: int) -> bool:
        """Whether everything in a partition below the offset ``end`` was read."""
        return self._feed.positions[partition] >= end

    def wait(self) -> None:
        """Read all that was there when this was made; raises :class:`Unavailable`."""
        self._take(self._feed.read_all())

    def read(self, timeout_s: float) -> list[Route]:
        """The routes that have changed, waiting up to ``timeout_s`` for one."""
        return self._take(self._feed.read(timeout_s))

    def _take(self, messages: Iterable[Message]) -> list[Route]:
        changed = []
        for message in messages:
            key = (message.key() or b"").decode(errors="replace")
            route = decoded(Route, message)
            if route is None and message.value() is not None:
                continue
            if (now := self.take(key, route)) is not None:
                changed.append(now)
        return changed

    def close(self) -> None:
        """Stop following."""
        self._feed.close()
