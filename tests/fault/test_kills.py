"""Kills and freezes under load: what was acknowledged is there once, and nothing else is."""

from __future__ import annotations

import pytest

from headwater.local import LocalKafka
from tests.support.fleet import Fleet, spread

pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.timeout(240)]

AGENTS = spread(8)
FEW = spread(4)


def test_an_agent_process_is_killed(fleet: Fleet) -> None:
    """SIGKILL of a worker amid its changes: another goes on from its last acknowledged one."""
    fleet.compactor()
    waits = fleet.worker("waits", AGENTS[:4])
    sends = fleet.worker("sends", AGENTS[4:], burst=16, pause_s=0.1)
    fleet.await_acks(AGENTS, 10)
    waits.kill()
    sends.kill()
    heir = fleet.worker("heir", AGENTS, burst=4, pause_s=0.1)
    fleet.await_acks(AGENTS, 10)
    heir.end()
    fleet.await_compacted()
    fleet.check()


def test_a_compactor_is_killed(fleet: Fleet) -> None:
    """SIGKILL of one of two compactors: the other takes its partitions over, without a gap."""
    first = fleet.compactor("first")
    fleet.compactor("second")
    worker = fleet.worker("worker", AGENTS, burst=4, pause_s=0.1)
    fleet.await_acks(AGENTS, 15)
    first.kill()
    fleet.await_acks(AGENTS, 15)
    worker.end()
    fleet.await_compacted()
    fleet.check()


def test_the_leader_is_killed(fleet: Fleet, cluster: LocalKafka) -> None:
    """SIGKILL of a partition's leader: changes go on under its successor."""
    fleet.compactor()
    workers = [
        fleet.worker("waits", AGENTS[:4]),
        fleet.worker("sends", AGENTS[4:], burst=16, pause_s=0.1),
    ]
    fleet.await_acks(AGENTS, 10)
    leader = fleet.leader(AGENTS[0])
    cluster.kill(leader)
    fleet.await_acks(AGENTS, 10)
    cluster.start_node(leader)
    fleet.await_in_sync()
    for worker in workers:
        worker.end()
    fleet.await_compacted()
    fleet.check()


@pytest.mark.long
def test_two_brokers_are_killed_in_a_row(fleet: Fleet, cluster: LocalKafka) -> None:
    """SIGKILL of a leader, and once it is back in sync of its successor, under one load."""
    fleet.compactor()
    workers = [
        fleet.worker("waits", AGENTS[:4]),
        fleet.worker("sends", AGENTS[4:], burst=16, pause_s=0.1),
    ]
    fleet.await_acks(AGENTS, 10)
    for _ in range(2):
        leader = fleet.leader(AGENTS[0])
        cluster.kill(leader)
        fleet.await_acks(AGENTS, 10)
        cluster.start_node(leader)
        fleet.await_in_sync()
    fleet.await_acks(AGENTS, 10)
    for worker in workers:
        worker.end()
    fleet.await_compacted()
    fleet.check()


@pytest.mark.long
def test_leader_and_owner_die_together(fleet: Fleet, cluster: LocalKafka) -> None:
    """SIGKILL of a leader and of an owner at once: the heir has all that was acknowledged."""
    fleet.compactor()
    owner = fleet.worker("owner", AGENTS, burst=8, pause_s=0.1)
    fleet.await_acks(AGENTS, 10)
    leader = fleet.leader(AGENTS[0])
    cluster.kill(leader)
    owner.kill()
    heir = fleet.worker("heir", AGENTS)
    fleet.await_acks(AGENTS, 5)
    cluster.start_node(leader)
    fleet.await_in_sync()
    heir.end()
    fleet.await_compacted()
    fleet.check()


@pytest.mark.parametrize("burst", [1, 16])
def test_a_replaced_owner_wakes_up(fleet: Fleet, burst: int) -> None:
    """SIGSTOP past the lease, another owner, SIGCONT: the first is fenced, and what it still
    writes counts nowhere and is acknowledged to nobody.
    """
    fleet.compactor()
    frozen = fleet.worker("frozen", FEW, burst=burst)
    fleet.await_acks(FEW, 10)
    frozen.pause()
    heir = fleet.worker("heir", FEW)
    fleet.await_acks(FEW, 10)
    frozen.resume()
    assert frozen.wait() == 0, frozen.tail()
    fenced = {agent for agent, writer in fleet.record.fenced if writer.startswith("frozen/")}
    assert fenced == set(FEW)
    fleet.await_acks(FEW, 10)
    heir.end()
    fleet.await_compacted()
    fleet.check()
