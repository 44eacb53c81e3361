"""What a node knows of the others: their heartbeats, and who runs what."""

from __future__ import annotations

import threading

from headwater.agent.hearing import Hearing
from headwater.clock import suspended_clock
from headwater.config import Config
from headwater.fleet.pulse import Life, Pulse
from headwater.fleet.records import NodeMode, Route, RouteStatus
from headwater.fleet.routes import Routes
from headwater.node.handover import Peer

_READ_S = 0.05
_HISTORY_S = 5.0
_FULL = 0.85
# A node that has been silent for so long is not a peer any more, whose loss would be news.
_FORGOTTEN_S = 60.0


class Fleet:
    """Follows heartbeats and routes; may be asked by any thread. ``incarnation`` is this process's
    own; ``heard`` and ``known`` are set once the heartbeats of late and all routes were read.
    """

    def __init__(self, config: Config, incarnation: bytes) -> None:
        self._config = config
        self._node_id = config.node_id
        self._incarnation = incarnation
        self._crashed: Life | None = None
        self.heard = threading.Event()
        self.hearing = Hearing()
        self._lives: dict[str, Life] = {}
        self._routes: Routes | None = None
        self.known = threading.Event()

    def follow_beats(self, stop: threading.Event) -> None:
        """Read heartbeats until told to stop."""
        lease_s = self._config.timing.lease.total_seconds()
        pulse = Pulse(self._config, history_s=max(_HISTORY_S, lease_s))
        try:
            while not stop.is_set():
                self.hearing.hear(pulse.read(_READ_S), pulse.positions)
                self._lives = pulse.lives
                if not self.heard.is_set() and pulse.caught_up:
                    self._crashed = self._predecessor(pulse)
                    self.heard.set()
        finally:
            pulse.close()

    def _predecessor(self, pulse: Pulse) -> Life | None:
        """The process of this name that was there until just now, and did not say that it ends."""
        lives = (pulse.lives.get(self._node_id), pulse.previous.get(self._node_id))
        for life in lives:
            if life is not None and life.incarnation != self._incarnation:
                return life if life.mode is not NodeMode.DRAINING else None
        return None

    @property
    def follows_a_crash(self) -> bool:
        """Whether the process of this name before this one ended just now, and without a word."""
        return self._crashed is not None

    def to_blame(self, route: Route) -> bool:
        """Whether an agent that is routed here may be why the process before this one died: it had
        not completed a step there, as far as that told, whose route it may not have got to write.
        """
        if self._crashed is None or route.status is RouteStatus.PAUSED:
            return False
        report = self._crashed.agents.get(route.agent_id)
        return report is None or report.step == 0

    def follow_routes(self, stop: threading.Event) -> None:
        """Read routes until told to stop."""
        routes = Routes(self._config)
        try:
            routes.wait()
            self._routes = routes
            self.known.set()
            while not stop.is_set():
                routes.read(0.25)
        finally:
            routes.close()

    def route(self, agent_id: str) -> Route | None:
        """An agent's route, as far as it was read."""
        return self._routes.get(agent_id) if self._routes is not None else None

    def routes(self) -> list[Route]:
        """All routes."""
        return [] if self._routes is None else self._routes.all()

    def mine(self) -> list[Route]:
        """The routes that lead to this node."""
        return [] if self._routes is None else self._routes.on(self._node_id)

    def is_mine(self, agent_id: str) -> bool:
        """Whether an agent is to run on this node, as far as routes were read."""
        route = self.route(agent_id)
        if route is None or route.node_id != self._node_id:
            return False
        return route.status in (RouteStatus.RUNNING, RouteStatus.PAUSED)

    def others(self) -> list[Life]:
        """The other nodes that were heard of lately."""
        now_s = suspended_clock()
        return [
            life
            for life in list(self._lives.values())
            if life.node_id != self._node_id
            and life.mode is not NodeMode.CLIENT
            and now_s - life.read_s < _FORGOTTEN_S
        ]

    def live(self) -> list[Life]:
        """The other nodes whose lease may still hold."""
        now_s = suspended_clock()
        return [life for life in self.others() if now_s - life.read_s < life.lease_s]

    def peers(self) -> list[Peer]:
        """The other nodes that would take agents now. One whose heartbeat is late is still asked:
        if it is gone, it does not answer.
        """
        now_s = suspended_clock()
        return [
            Peer(node_id=life.node_id, kinds=frozenset(life.kinds), agents=len(life.agents))
            for life in self.others()
            if now_s - life.read_s < 2 * life.lease_s
            and life.mode is NodeMode.RUNNING
            and not _is_full(life)
        ]


def _is_full(life: Life) -> bool:
    has = life.resources
    return has is not None and has.memory_bytes > _FULL * has.memory_limit_bytes > 0
