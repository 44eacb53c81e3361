"""Whatever breaks on nodes or between them: it is detected, put right, and nothing is lost.

Three brokers, nodes, detectors, strategies and compactors in real processes, on a network whose
links can be cut. After each fault every agent is owned once and went on from its last acknowledged
change, none is lost or applied twice, epochs only grew, and the audit tells all of it.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.fleet.records import FailureType
from headwater.local import LocalKafka
from tests.fault.conftest import CALM
from tests.support import limits
from tests.support.clusters import fresh_config
from tests.support.fleet import spread
from tests.support.network import Network, network
from tests.support.nodes import NodeFleet, nodes_on
from tests.support.troubles import Troubles

pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.timeout(240)]

AGENTS = spread(12)
MEMORY_BYTES = 400 << 20
DISK_BYTES = 32 << 20
# One where it had completed steps, one that takes it up again, three strikes; and some more since
# it may be moved on while a strike is being counted.
MOST_DEATHS = 9
NODES, SPARES = ("ash", "beech", "cedar"), ("dogwood", "elm")


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    """A network for all tests of the module."""
    with network() as made:
        yield made


@pytest.fixture(scope="module")
def brokers(net: Network) -> Iterator[LocalKafka]:
    """Three brokers that every place reaches."""
    with LocalKafka(properties=CALM, **net.kafka()) as kafka:
        net.brokers(kafka)
        yield kafka


@pytest.fixture(scope="module")
def shared(
    net: Network, brokers: LocalKafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[NodeFleet, Troubles]]:
    """One fleet for all tests of the module: three nodes, and all that looks after them."""
    directory: Path = tmp_path_factory.mktemp("nodes")
    # On processors that are shared by so many, a lease of 0.6 s runs out without cause.
    config = fresh_config(brokers, profile="default")
    with nodes_on(net, config, directory) as fleet:
        troubles = Troubles(fleet, brokers, net, NODES, random.Random(0))
        troubles.start()
        fleet.start_everywhere(AGENTS, NODES)
        yield fleet, troubles


@pytest.fixture
def troubles(shared: tuple[NodeFleet, Troubles], net: Network) -> Iterator[Troubles]:
    """The faults, for a fleet that is well; what a test broke is mended for the next one."""
    troubles = shared[1]
    troubles.revive()
    troubles.spread()
    yield troubles
    net.mend_all()


@pytest.fixture
def nodes(shared: tuple[NodeFleet, Troubles]) -> NodeFleet:
    """The fleet."""
    return shared[0]


def places(fleet: NodeFleet) -> dict[str, list[str]]:
    """Who owns each agent."""
    return {agent: [node for node, _ in fleet.sight.holders(agent)] for agent in fleet.agents}


@pytest.mark.long
def test_a_node_is_killed(nodes: NodeFleet, troubles: Troubles) -> None:
    """SIGKILL: its agents go on elsewhere, from their last acknowledged changes."""
    troubles.kill_node("ash")
    nodes.check_all()
    assert nodes.sight.seen(FailureType.NODE_FAILURE, "node:ash")


@pytest.mark.long
def test_a_node_is_frozen_past_its_lease(nodes: NodeFleet, troubles: Troubles) -> None:
    """SIGSTOP until others have its agents, then SIGCONT: it is fenced, and none runs twice."""
    troubles.freeze_node_long("beech")
    nodes.check_all()


@pytest.mark.long
def test_a_node_is_frozen_within_its_lease(nodes: NodeFleet, troubles: Troubles) -> None:
    """SIGSTOP for less than a lease: it keeps its agents."""
    before = places(nodes)
    troubles.freeze_node_briefly("cedar")
    time.sleep(nodes.config.timing.lease_ms / 1000)
    nodes.check_all()
    assert places(nodes) == before


@pytest.mark.long
@pytest.mark.parametrize("ways", ["both", "to", "from"])
def test_a_node_loses_the_brokers(nodes: NodeFleet, troubles: Troubles, ways: str) -> None:
    """A link cut both ways, or one way: the node fences itself before others take over."""
    troubles.cut_from_brokers("ash", ways)
    nodes.check_all()
    assert any(record.action == "node.fenced" for record in nodes.sight.audited("node:ash"))


@pytest.mark.long
@pytest.mark.parametrize("ways", ["both", "to", "from"])
def test_a_node_loses_its_peers(nodes: NodeFleet, troubles: Troubles, ways: str) -> None:
    """A partition, an asymmetric one too: the smaller part is frozen, and freed once it heals."""
    troubles.cut_from_peers("beech", ways)
    nodes.check_all()


@pytest.mark.long
def test_a_node_loses_one_broker(nodes: NodeFleet, troubles: Troubles) -> None:
    """It goes on with what the others lead, and with all of it once the link is back."""
    troubles.cut_from_one_broker()
    nodes.check_all()


@pytest.mark.long
@pytest.mark.parametrize("how", ["hang_step", "await_for_ever", "block_loop", "raise_in_step"])
def test_a_step_goes_wrong(nodes: NodeFleet, troubles: Troubles, how: str) -> None:
    """A step that never returns, in each way, or raises: the agent goes on, and so do others."""
    getattr(troubles, how)()
    nodes.check_all()


def test_a_wall_clock_jumps(nodes: NodeFleet, troubles: Troubles) -> None:
    """An hour on, an hour back: no lease runs out, nothing fails, nobody takes anything over."""
    before = places(nodes)
    began_s = time.monotonic()
    troubles.jump_clock()
    nodes.check_all()
    assert places(nodes) == before
    for wrong in (FailureType.NODE_FAILURE, FailureType.TIMEOUT):
        assert not nodes.sight.seen(wrong, since_s=began_s)


@pytest.mark.long
@pytest.mark.parametrize("who", ["kill_handler", "kill_detector", "kill_compactor", "kill_broker"])
def test_a_helper_dies_with_a_node(nodes: NodeFleet, troubles: Troubles, who: str) -> None:
    """SIGKILL of one of those that look after nodes, and of a node right after it."""
    getattr(troubles, who)()
    troubles.kill_node()
    nodes.check_all()


def test_a_step_allocates_without_end(nodes: NodeFleet, troubles: Troubles) -> None:
    """The kernel kills the node: its agents go on elsewhere, that one too."""
    with limits.little_memory("oak", MEMORY_BYTES) as prefix:
        if prefix is None:
            pytest.skip("control groups cannot be made here: that takes root on Linux")
        oak = nodes.node("oak", prefix=prefix)
        nodes.await_nodes("oak")
        moved = nodes.on("ash")[:2]
        nodes.move(moved, "oak")
        began_s = time.monotonic()
        nodes.tell(moved[0], "grow")
        assert oak.wait() == -signal.SIGKILL
        nodes.await_failure(FailureType.NODE_FAILURE, "node:oak", began_s)
        nodes.check_all()


@pytest.mark.long
def test_a_disk_is_full(nodes: NodeFleet, troubles: Troubles) -> None:
    """It is found, agents work on, and a node that fences itself then gets over it, too."""
    if not limits.can_mount():
        pytest.skip("a disk of its own cannot be made here: that takes root on Linux")
    disk = nodes.programs.directory / "pine.data"
    pine = nodes.node("pine", prefix=limits.on_small_disk(disk, DISK_BYTES))
    nodes.await_nodes("pine")
    moved = nodes.on("ash")[:2]
    nodes.move(moved, "pine")
    began_s = time.monotonic()
    limits.fill_disk(pine.pid, disk)
    nodes.await_failure(FailureType.RESOURCE_EXHAUSTION, "node:pine", began_s)
    nodes.check_all(apart_from="node:pine")
    troubles.cut_from_brokers("pine", "both")
    nodes.check_all(apart_from="node:pine")
    limits.free_disk(pine.pid, disk)
    nodes.await_settled()
    pine.end()
    nodes.check_all()


@pytest.mark.long
def test_bytes_are_flipped(nodes: NodeFleet, troubles: Troubles) -> None:
    """A snapshot with another byte: it is found, nothing is restored from it, and the agent goes
    on with all of its changes.
    """
    troubles.flip_bytes()
    nodes.check_all()


@pytest.mark.long
def test_an_agent_kills_every_node(nodes: NodeFleet, troubles: Troubles) -> None:
    """It is moved on and on; after some nodes it is quarantined, and all others work on."""
    for name in SPARES:
        troubles.start_node(name)
    nodes.await_nodes(*NODES, *SPARES)
    (poison,) = nodes.on("ash")[:1]
    nodes.tell(poison, "die", always=True)
    nodes.await_quarantined(poison)
    nodes.agents.discard(poison)
    troubles.revive()
    nodes.check_all()


@pytest.mark.long
def test_an_agent_kills_nodes_that_are_started_again_at_once(
    nodes: NodeFleet, troubles: Troubles
) -> None:
    """Sooner than their leases run out; strikes are counted all the same, of nobody else."""
    (poison,) = nodes.on("beech")[:1]
    nodes.tell(poison, "die", always=True)
    deaths = troubles.revive_until(lambda: nodes.quarantined(poison))
    assert deaths <= MOST_DEATHS, deaths
    nodes.agents.discard(poison)
    troubles.revive()
    assert [agent for agent in nodes.agents if nodes.quarantined(agent)] == []
    nodes.check_all()
