"""What is done to a fleet of nodes: each fault from its beginning to when all is well again.

A fault returns when what it broke is detected and put right, as far as that can be known, and what
it took from the fleet is there again. Whether every promise was kept is for
:meth:`NodeFleet.check_all`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

from headwater.fleet.records import CommandKind, FailureType
from headwater.kafka import clients
from headwater.kafka.reader import ReaderPool
from headwater.local import LocalKafka
from headwater.log.chain import partition_of
from headwater.recovery.index import read_index
from tests.support import limits
from tests.support.damage import flipped, spoil_snapshots
from tests.support.network import BROKERS, Network, cut_both
from tests.support.nodes import NodeFleet
from tests.support.processes import Program

HOUR_NS = 3_600 * 10**9


class Troubles:
    """The faults, for nodes of these names, with this in their environment; helpers are started
    anew under new names.
    """

    def __init__(
        self,
        fleet: NodeFleet,
        kafka: LocalKafka,
        net: Network,
        names: tuple[str, ...],
        chance: random.Random,
        **environment: str,
    ) -> None:
        self._fleet = fleet
        self._kafka = kafka
        self._net = net
        self._names = names
        self._chance = chance
        self._environment = environment
        self._lease_s = fleet.config.timing.lease_ms / 1000
        self._births = 0
        self._helpers: dict[str, Program] = {}
        self._starts: dict[str, Callable[[str], Program]] = {
            "detector": fleet.detector,
            "healer": fleet.healer,
            # Commits, each a transaction on three brokers, are most of what idle brokers do.
            "compactor": partial(fleet.compactor, commit_ms="1000"),
        }

    def start(self) -> None:
        """Start all nodes, and two of each helper."""
        for kind in self._starts:
            for role in (f"{kind}-1", f"{kind}-2"):
                self._helpers[role] = self._starts[kind](role)
        for name in self._names:
            self.start_node(name)
        self._fleet.await_nodes(*self._names)

    def start_node(self, name: str) -> None:
        """Start a node, whose clock can be set."""
        clock = self._fleet.programs.directory / f"{name}.clock"
        clock.write_text("0")
        self._fleet.node(name, **limits.with_clock(clock), **self._environment)

    def revive(self) -> None:
        """Start the nodes that are gone."""
        for name in self._names:
            if not self._fleet.nodes[name].running:
                self.start_node(name)
        self._fleet.await_nodes(*self._names)

    def revive_until(self, true: Callable[[], bool], timeout_s: float = 90.0) -> int:
        """Start each node again as soon as it is gone, until something is so; how often."""
        deaths, deadline = 0, time.monotonic() + timeout_s
        while not true():
            told = self._fleet.sight.outcomes.values() if time.monotonic() > deadline else ()
            assert not told, f"not in {timeout_s:g} s; {deaths} nodes died: {list(told)}"
            for name in self._names:
                if not self._fleet.nodes[name].running:
                    self.start_node(name)
                    deaths += 1
            time.sleep(0.02)
        return deaths

    def spread(self) -> None:
        """Wait until all is well, and give nodes that have no agent some of those of the others."""
        self._fleet.await_settled()
        for name in self._names:
            if not self._fleet.on(name):
                most = max(self._names, key=lambda n: len(self._fleet.on(n)))
                self._fleet.move(self._fleet.on(most)[::2], name)
        self._fleet.await_settled()

    def _some_node(self) -> str:
        """A node that has agents, if there is one."""
        busy = [name for name in self._names if self._fleet.on(name)]
        return self._chance.choice(busy or list(self._names))

    def _some_agent(self, kind: str) -> str:
        agents = [r.agent_id for r in self._fleet.sight.routes.all() if r.kind == kind]
        return self._chance.choice(sorted(set(agents) & self._fleet.agents))

    def _await_takeover(self, name: str, had: list[str], began_s: float) -> None:
        """Wait until a node that is gone is found to be, and others work on with its agents."""
        if had:
            self._fleet.await_failure(FailureType.NODE_FAILURE, f"node:{name}", began_s)
            self._fleet.await_acks(had, 1)

    # Processes.

    def kill_node(self, name: str = "") -> None:
        """SIGKILL."""
        name = name or self._some_node()
        had, began_s = self._fleet.on(name), time.monotonic()
        self._fleet.nodes[name].kill()
        self._await_takeover(name, had, began_s)
        self.revive()

    def freeze_node_long(self, name: str = "") -> None:
        """SIGSTOP past the lease and the takeover, then SIGCONT: it is fenced, and comes back."""
        name = name or self._some_node()
        had, began_s = self._fleet.on(name), time.monotonic()
        node = self._fleet.nodes[name]
        node.pause()
        self._await_takeover(name, had, began_s)
        node.resume()
        self._fleet.await_nodes(name)

    def freeze_node_briefly(self, name: str = "") -> None:
        """SIGSTOP for a third of a lease: nothing may come of it."""
        node = self._fleet.nodes[name or self._some_node()]
        node.pause()
        time.sleep(self._lease_s / 3)
        node.resume()

    def kill_handler(self) -> None:
        """SIGKILL of strategies; another instance follows."""
        self._replace("healer")

    def kill_detector(self) -> None:
        """SIGKILL of detectors; another instance follows."""
        self._replace("detector")

    def kill_compactor(self) -> None:
        """SIGKILL of a compactor; another instance follows."""
        self._replace("compactor")

    def _replace(self, kind: str) -> None:
        role = f"{kind}-{self._chance.choice((1, 2))}"
        self._helpers[role].kill()
        self._births += 1
        self._helpers[role] = self._starts[kind](f"{role}-{self._births}")

    def kill_broker(self) -> None:
        """SIGKILL, and a new start."""
        broker = self._chance.choice(self._kafka.nodes)
        self._kafka.kill(broker)
        time.sleep(self._chance.uniform(0, 3))
        self._kafka.start_node(broker)
        self._fleet.await_in_sync()

    def freeze_broker(self) -> None:
        """SIGSTOP: its connections stay open and nothing answers; then SIGCONT."""
        broker = self._chance.choice(self._kafka.nodes)
        self._kafka.pause(broker)
        time.sleep(self._chance.uniform(0.5, 4))
        self._kafka.resume(broker)
        self._fleet.await_in_sync()

    # Links.

    def cut_from_brokers(self, name: str = "", ways: str = "") -> None:
        """A node and the brokers no longer hear each other, or one of them the other: it fences
        itself, others take over, and it comes back.
        """
        name, ways = name or self._some_node(), ways or self._chance.choice(("both", "to", "from"))
        had, began_s = self._fleet.on(name), time.monotonic()
        if ways in ("both", "to"):
            self._net.cut(name, BROKERS)
        if ways in ("both", "from"):
            self._net.cut(BROKERS, name)
        self._await_takeover(name, had, began_s)
        self._net.mend_all()
        self._fleet.await_nodes(name)

    def cut_from_one_broker(self) -> None:
        """A node and one broker no longer hear each other, for two leases."""
        broker = f"broker-{self._chance.choice(self._kafka.nodes)}"
        cut_both(self._net, self._some_node(), broker)
        time.sleep(2 * self._lease_s)
        self._net.mend_all()

    def cut_from_peers(self, name: str = "", ways: str = "") -> None:
        """A node and its peers no longer reach each other, or one way only: the smaller part is
        frozen, and goes on once they do.
        """
        name, ways = name or self._some_node(), ways or self._chance.choice(("both", "to", "from"))
        began_s = time.monotonic()
        for other in self._names:
            if other != name and ways in ("both", "to"):
                self._net.cut(name, other)
            if other != name and ways in ("both", "from"):
                self._net.cut(other, name)
        self._fleet.await_failure(FailureType.NETWORK_PARTITION, f"partition:{name}", began_s)
        self._net.mend_all()
        self._fleet.await_acks(self._fleet.agents, 1)

    # Steps.

    def hang_step(self) -> None:
        """A plain step that never returns."""
        self._misbehave("Sturdy", "hang")

    def await_for_ever(self) -> None:
        """An async step that never returns, and lets others run."""
        self._misbehave("Steady", "hang")

    def block_loop(self) -> None:
        """An async step that never returns, and lets nobody run."""
        self._misbehave("Steady", "block")

    def raise_in_step(self) -> None:
        """A step that fails."""
        self._misbehave(self._chance.choice(("Steady", "Sturdy")), "raise")

    def _misbehave(self, kind: str, trouble: str) -> None:
        agent = self._some_agent(kind)
        self._fleet.tell(agent, trouble)
        self._fleet.await_told(agent)
        self._fleet.await_acks(self._fleet.agents, 1)

    # The rest.

    def jump_clock(self) -> None:
        """A node's wall clock jumps an hour, and back: nothing may come of it."""
        clock = self._fleet.programs.directory / f"{self._some_node()}.clock"
        for shift in (self._chance.choice((-HOUR_NS, HOUR_NS)), 0):
            clock.write_text(str(shift))
            time.sleep(self._lease_s)

    def flip_bytes(self) -> None:
        """The full snapshot that leads to an agent's state has a byte that is another."""
        config, agent = self._fleet.config, self._some_agent("Steady")
        # What it changes meanwhile would lead to a snapshot that is whole.
        self._fleet.order(CommandKind.PAUSE, agent)
        self._fleet.await_compacted()
        pool = ReaderPool(config, clients.SCANS)
        partition = partition_of(agent.encode(), self._fleet.partitions)
        entry = read_index(config, pool, partition, agent.encode()).entry(agent.encode())
        pool.close()
        assert entry is not None
        full = entry.snapshots[0]
        key = f"{agent}\0{full.from_version}-{full.to_version}".encode()
        began_s = time.monotonic()
        spoil_snapshots(config, partition, [key], flipped)
        self._fleet.await_failure(FailureType.STATE_CORRUPTION, f"agent:{agent}", began_s)
        self._fleet.await_settled()
        self._fleet.order(CommandKind.RESUME, agent)

    def all(self, *, long: bool = True) -> list[Callable[[], None]]:
        """All of them; ``long``: those too that take long."""
        quick: list[Callable[[], None]] = [
            self.kill_node,
            self.freeze_node_long,
            self.freeze_node_briefly,
            self.kill_handler,
            self.kill_detector,
            self.kill_compactor,
            self.kill_broker,
            self.cut_from_brokers,
            self.cut_from_one_broker,
            self.cut_from_peers,
            self.hang_step,
            self.await_for_ever,
            self.block_loop,
            self.raise_in_step,
            self.jump_clock,
        ]
        return [*quick, self.freeze_broker] if long else quick
