"""A node: one process that hosts agents, drives their steps, obeys commands, and says how it is."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.client import Client
from headwater.clock import wall_ms
from headwater.config import Config
from headwater.errors import HeadwaterError, SessionClosed
from headwater.fleet.feed import Sender
from headwater.fleet.records import Command, NodeMode, Route, RouteStatus
from headwater.node.chores import Chores
from headwater.node.fencing import Fence
from headwater.node.fleet import Fleet
from headwater.node.handover import Handover
from headwater.node.health import Health
from headwater.node.host import Host
from headwater.node.hosted import Kind
from headwater.node.obey import Obey
from headwater.node.orders import OrderFeed, Orders
from headwater.node.posts import Posts
from headwater.node.replicas import Replicas
from headwater.node.report import Reporter
from headwater.node.resources import Meter
from headwater.node.services import Services
from headwater.node.strays import PATIENCE_S, Strays
from headwater.node.watch import Reclaimer, Watch
from headwater.tiers.files import open_files
from headwater.topics import connect_fleet

log = logging.getLogger("headwater.node")

_PICK_UP_S = 15.0
_LINGER_MS = 50
_ORDERS_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a node runs.

    ``listen`` and ``advertise``: where its health endpoint is, and under which address others reach
    it (None: the same). ``data_dir``: where emergency checkpoints are kept; None keeps none.
    ``threads``: how many plain steps may run at a time. ``max_agents`` 0: no bound.
    ``replicas``, ``replica_bytes``: how many warm replicas of others' agents it keeps, and how
    large all of them may be. ``grace_s``: how long a step may go on when the node drains.
    """

    listen: str = "127.0.0.1:0"
    advertise: str | None = None
    data_dir: Path | None = None
    threads: int = 32
    max_agents: int = 0
    replicas: int = 0
    replica_bytes: int = 256 << 20
    grace_s: float = 5.0


class Node:
    """Runs agents of ``kinds`` from :meth:`start` until :meth:`drain` or :meth:`close`."""

    def __init__(self, config: Config, kinds: Mapping[str, Kind], settings: Settings) -> None:
        connect_fleet(config)
        self.config = config
        self.settings = settings
        self.ending = threading.Event()
        self._born_ms = wall_ms()
        self.fault: BaseException | None = None
        # Whoever takes over at any time must not read the whole index first.
        self.client = Client(config, follow_index=True)
        self.lease = self.client.lease
        self._sender = Sender(config, linger_ms=_LINGER_MS)
        self.posts = Posts(self._sender, config.node_id, self.lease.incarnation)
        self.chores = Chores()
        self.fleet = Fleet(config, self.lease.incarnation)
        self.host = Host(
            self.client,
            kinds,
            self.posts,
            self.fleet.hearing,
            self.chores,
            threads=settings.threads,
            max_agents=settings.max_agents,
        )
        self._keep = None if settings.data_dir is None else open_files(str(settings.data_dir))
        self.reclaimer = Reclaimer(self.host)
        self.fence = Fence(self.lease, self.host, self.chores, self._keep, self.reclaimer.resumed)
        self.replicas = Replicas(self.client, self.fleet, settings.replicas, settings.replica_bytes)
        self.host.replicas = self.replicas.give
        self.host.routed = self.fleet.is_mine
        self.host.strained = lambda: self.lease.strained
        self.handover = Handover(config, self.host, Chores(16), self.fleet.peers)
        self.strays = Strays(
            self.fleet.mine,
            self.host.slots.__contains__,
            lambda agent_id: self.client._recovery.look(agent_id).head,
            self._take_strays,
            config.node_id,
        )
        self.meter = Meter(settings.data_dir)
        self.orders = Orders(config.node_id, self.posts, self._obey())
        ticks = (self.orders.flush, self.posts.tend)
        self.watch = Watch(self.host, self.lease, self.fence, ticks)
        self.health = Health(config, self.describe, self.fleet, settings.listen, settings.advertise)
        self.report = Reporter(self.host)
        self._services = Services(self._died)

    def _obey(self) -> Obey:
        return Obey(
            self.host,
            Chores(16),
            self.handover,
            route=self.fleet.route,
            replica=self.replicas.get,
            memory_used=self.meter.memory_used,
            outlived=self._outlived,
            wake=self.reclaimer.wake,
            drain=self._told_to_end,
        )

    def start(self) -> None:
        """Say that it lives, take up the agents that are routed here, and obey from now on."""
        services = self._services
        services.start("beats", self.fleet.follow_beats)
        services.start("routes", self.fleet.follow_routes)
        services.start("health", self.health.run)
        self.report.address = self.posts.address = self.health.await_address()
        self.report.peers = self.health.peers
        self.lease.report = self.report
        services.start("resources", self._measure)
        services.start("control", self.watch.run)
        self.lease.may_beat = self.watch.may_beat
        self.lease.start()
        services.start("claims", self.reclaimer.run)
        services.start("commands", self._read_commands)
        services.start("replicas", self.replicas.run)
        services.start("strays", self.strays.run)
        self.chores.do(self._pick_up)
        log.info(
            "node %s is at work at %s: %s",
            self.config.node_id, self.report.address, ", ".join(self.host.kinds),
        )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """What the health endpoint says."""
        host = self.host
        return {
            "node_id": self.config.node_id,
            "pid": os.getpid(),
            "incarnation": self.lease.incarnation.hex(),
            "mode": host.mode.value,
            "agents": len(host.slots),
            "kinds": sorted(host.kinds),
            "lease_left_s": round(self.fence.left_s, 3),
            "control_late_s": round(self.watch.late_s, 3),
            "loop_late_s": round(host.loops.loop.late_s, 3),
            "loops_replaced": host.loops.replaced,
            "threads_lost": host.threads.lost,
            "replicas": len(self.replicas),
        }

    def drain(self, reason: str) -> None:
        """Hand all agents over, and stop."""
        if not self.host.draining:
            self.host.draining = True
            log.info("draining: %s", reason)
            slots = list(self.host.slots.values())
            moved = list(self.handover.away(slots, self.settings.grace_s, None))
            stayed = [each for each in moved if not each.ok]
            for each in stayed:
                log.warning("agent %s: %s", each.agent_id, each.error)
            self.posts.audit(
                "node.drained",
                message=f"{reason}: {len(moved) - len(stayed)} agents were handed over",
                handed_over=len(moved) - len(stayed),
                given_up={each.agent_id: each.error for each in stayed[:50]},
            )
        self.orders.idle(_ORDERS_S)
        self.close()

    def close(self) -> None:
        """Stop at once: agents that it still has are free when its lease has run out."""
        for slot in list(self.host.slots.values()):
            self.host.interrupt(slot, SessionClosed("the node ends"))
        self.host.loops.stop()
        self.host.threads.stop()
        self.chores.stop()
        self._services.stop()
        self.posts.settle()
        self.client.close()
        self._sender.close()
        if self._keep is not None:
            self._keep.close()

    def _outlived(self, command: Command) -> bool:
        """Whether the process before this one may have died of a command."""
        return self.fleet.follows_a_crash and command.issued_at < self._born_ms

    def _told_to_end(self, reason: str) -> None:
        log.info("drained: %s", reason)
        self.ending.set()

    def _died(self, name: str, fault: BaseException) -> None:
        # Without this thread the node does not do what it says: its agents are better elsewhere.
        self.fault = fault
        self.ending.set()

    def _measure(self, stop: threading.Event) -> None:
        while True:
            self.report.resources = self.meter.measure(
                loop_lag_s=self.host.loops.loop.worst_s(),
                broker_rtt_s=self.lease.round_trip_s,
                replicas=len(self.replicas),
            )
            if stop.wait(max(0.5, self.config.timing.heartbeat.total_seconds() / 2)):
                return

    def _read_commands(self, stop: threading.Event) -> None:
        # Routes say of what kind an agent is, and whether it is paused or quarantined.
        # Heartbeats, whether what it finds there may have brought down the process before.
        for needed in (self.fleet.known, self.fleet.heard):
            while not (stop.is_set() or needed.wait(0.1)):
                pass
        feed = OrderFeed(self.config, self.orders)
        try:
            while not stop.is_set():
                feed.read()
        finally:
            feed.close()

    def _pick_up(self) -> None:
        """Take the agents whose route leads here: a process of this name had them before. Those
        that may have brought it down are left to whoever counts that.
        """
        if not (self.fleet.known.wait(_PICK_UP_S) and self.fleet.heard.wait(_PICK_UP_S)):
            log.warning("the routes could not be read: no agents were taken up again")
            return
        mine = self.fleet.mine()
        left = {route.agent_id for route in mine if self.fleet.to_blame(route)}
        if left:
            log.warning(
                "%d agents had not completed a step when the process before died; strategies start "
                "them, or else this node in %.0f s: %s",
                len(left), PATIENCE_S, ", ".join(sorted(left)[:5]),
            )  # fmt: skip
        self._take_up((r for r in mine if r.agent_id not in left), "its node began again")

    def _take_up(self, routes: Iterable[Route], reason: str) -> None:
        wanted, paused = {}, []
        for route in routes:
            kind = self.host.kinds.get(route.kind)
            if kind is None or route.status not in (RouteStatus.RUNNING, RouteStatus.PAUSED):
                continue
            wanted[route.agent_id] = kind
            if route.status is RouteStatus.PAUSED:
                paused.append(route.agent_id)
        for each in self.host.take(wanted, _PICK_UP_S, paused=paused, reason=reason):
            if each.error:
                log.info("agent %s is elsewhere now: %s", each.agent_id, each.error)

    def _take_strays(self, routes: list[Route]) -> None:
        if self.host.mode is not NodeMode.RUNNING or self.host.draining:
            return
        names = ", ".join(route.agent_id for route in routes[:5])
        log.warning("%d agents are nobody's and routed here: %s", len(routes), names)
        self._take_up(routes, "it was nobody's")


def run(node: Node, told: threading.Event) -> int:
    """Run a node until it is told to end, by ``told`` or by a command; its exit code."""
    node.start()
    while not (told.is_set() or node.ending.is_set()):
        told.wait(0.1)
    if node.fault is not None:
        log.critical("the node ends: one of its threads died: %r", node.fault)
    try:
        node.drain("a thread of the node died" if node.fault is not None else "told to end")
    except HeadwaterError as error:
        log.error("%s", error)
        return 1
    return 1 if node.fault is not None else 0
