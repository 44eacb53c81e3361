"""Faults of all kinds in random order, for minutes, on nodes with many agents.

After each fault every promise is checked. The order follows from a seed, which is printed;
``HEADWATER_SEED`` sets it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headwater.local import LocalKafka
from tests.fault.conftest import CALM
from tests.support.clusters import fresh_config
from tests.support.fleet import spread
from tests.support.hosted import DEADLINE_MS, PAUSE_MS
from tests.support.network import Network, network
from tests.support.nodes import NodeFleet, nodes_on
from tests.support.troubles import Troubles

pytestmark = [pytest.mark.kafka, pytest.mark.fault]

AGENTS = spread(100)
NODES = ("ash", "beech", "cedar", "fir")
FAULTS = 50
LONG_S = 600.0
SHORT_S = 90.0
# A degradation is over when its actions, each with a check, and three good windows are.
SLOW_S = 400.0
# How often the next fault does not wait for the one before it to be over.
TOGETHER = 0.3
# A hundred agents that work without pause would keep two processors busy by themselves.
SLOW = {PAUSE_MS: "1500", DEADLINE_MS: "5000"}


@pytest.fixture
def net() -> Iterator[Network]:
    """A network of its own."""
    with network() as made:
        yield made


@pytest.fixture
def brokers(net: Network) -> Iterator[LocalKafka]:
    """Three brokers that every place reaches."""
    with LocalKafka(properties=CALM, **net.kafka()) as kafka:
        net.brokers(kafka)
        yield kafka


@pytest.fixture
def nodes(net: Network, brokers: LocalKafka, tmp_path: Path) -> Iterator[NodeFleet]:
    """A fleet without a node yet."""
    # On processors that are shared by so many, a lease of 0.6 s runs out without cause.
    with nodes_on(net, fresh_config(brokers, profile="default"), tmp_path) as fleet:
        yield fleet


def run(
    fleet: NodeFleet,
    kafka: LocalKafka,
    net: Network,
    enough: Callable[[int, float], bool],
    *,
    long: bool,
) -> int:
    """Faults until their number and the seconds since the first are ``enough``; at the first
    broken promise it fails.
    """
    seed = int(os.environ.get("HEADWATER_SEED") or random.randrange(2**32))
    print(f"seed {seed} (again with HEADWATER_SEED={seed})")
    chance = random.Random(seed)
    troubles = Troubles(fleet, kafka, net, NODES, chance, **SLOW)
    troubles.start()
    fleet.start_everywhere(AGENTS, NODES)
    fleet.check_all()
    began, done = time.monotonic(), 0
    todo: list[Callable[[], None]] = []
    while not enough(done, time.monotonic() - began):
        if not todo:
            todo = troubles.all(long=long)
            chance.shuffle(todo)
        fault = todo.pop()
        print(f"{time.monotonic() - began:6.1f} s: {fault.__name__}", flush=True)
        fault()
        done += 1
        if chance.random() >= TOGETHER:
            fleet.check_all(more=1)
    net.mend_all()
    troubles.revive()
    fleet.check_all()
    fleet.await_settled(SLOW_S, slow=True)
    failures = len(fleet.sight.seen())
    print(f"{done} faults in {time.monotonic() - began:.0f} s, {failures} failures, all put right")
    return done


@pytest.mark.timeout(600)
def test_a_short_schedule(nodes: NodeFleet, brokers: LocalKafka, net: Network) -> None:
    """Faults for two minutes, with the checks after them: no promise is broken."""
    assert run(nodes, brokers, net, lambda done, s: s >= SHORT_S, long=False) >= 4


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_long_schedule(nodes: NodeFleet, brokers: LocalKafka, net: Network) -> None:
    """Fifty faults over ten minutes at least: no promise is broken after any of them."""

    def enough(done: int, seconds: float) -> bool:
        return done >= FAULTS and seconds >= LONG_S

    assert run(nodes, brokers, net, enough, long=True) >= FAULTS
