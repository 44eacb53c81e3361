"""A busy machine, stalls, and brokers that fail over are no failures of nodes.

All under the fast profile, with which a node that is really dead is found within a second.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headwater.fleet.records import FailureType
from headwater.local import LocalKafka
from tests.support.clusters import fresh_config
from tests.support.fleet import spread
from tests.support.network import Network, network
from tests.support.nodes import NodeFleet, nodes_on

pytestmark = [pytest.mark.kafka, pytest.mark.fault]

AGENTS = spread(12)
NODES = ("ash", "beech", "cedar")
STALL_S = 0.3
BETWEEN_STALLS_S = 2.0
LONG_S, SHORT_S = 600.0, 10.0


@pytest.fixture
def net() -> Iterator[Network]:
    """A network of its own."""
    with network() as made:
        yield made


@pytest.fixture
def brokers(net: Network) -> Iterator[LocalKafka]:
    """Three brokers that fail over fast."""
    with LocalKafka(**net.kafka()) as kafka:
        net.brokers(kafka)
        yield kafka


@pytest.fixture
def nodes(net: Network, brokers: LocalKafka, tmp_path: Path) -> Iterator[NodeFleet]:
    """Three nodes at work under the fast profile, and two detectors."""
    with nodes_on(net, fresh_config(brokers), tmp_path) as fleet:
        fleet.detector("detector-1")
        fleet.detector("detector-2")
        fleet.healer()
        for name in NODES:
            fleet.node(name)
        fleet.await_nodes(*NODES)
        fleet.start_everywhere(AGENTS, NODES)
        yield fleet


@contextmanager
def saturation() -> Iterator[None]:
    """Two processes for each processor that use all they get."""
    burn = [sys.executable, "-c", "while True: pass"]
    burners = [subprocess.Popen(burn) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def disturb(fleet: NodeFleet, kafka: LocalKafka, seconds: float, failovers: int) -> None:
    """Stalls all the time, and broker failovers spread over it."""
    chance = random.Random(1)
    began = time.monotonic()
    due = [began + seconds * (n + 0.5) / failovers for n in range(failovers)]
    while time.monotonic() - began < seconds:
        if due and time.monotonic() >= due[0]:
            due.pop(0)
            leader = fleet.leader(chance.choice(AGENTS))
            kafka.kill(leader)
            time.sleep(chance.uniform(1, 3))
            kafka.start_node(leader)
            fleet.await_in_sync()
        node = fleet.nodes[chance.choice(NODES)]
        node.pause()
        time.sleep(STALL_S)
        node.resume()
        time.sleep(BETWEEN_STALLS_S)


def check(fleet: NodeFleet, kafka: LocalKafka, seconds: float, failovers: int) -> None:
    """Disturb, and fail for each node that was taken for dead."""
    with saturation():
        disturb(fleet, kafka, seconds, failovers)
        alarms = fleet.sight.seen(FailureType.NODE_FAILURE)
    assert all(node.running for node in fleet.nodes.values())
    assert not alarms, [f"{a.component}: {a.description} {a.context}" for a in alarms]
    fleet.check_all()


@pytest.mark.timeout(150)
def test_no_false_alarm_for_a_moment(nodes: NodeFleet, brokers: LocalKafka) -> None:
    """All processors busy, stalls of 300 ms, a broker's failover: no node is taken for dead."""
    check(nodes, brokers, SHORT_S, failovers=1)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_no_false_alarm_in_ten_minutes(nodes: NodeFleet, brokers: LocalKafka) -> None:
    """The same for ten minutes, with five failovers."""
    check(nodes, brokers, LONG_S, failovers=5)
