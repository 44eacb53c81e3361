"""The lease's arithmetic on a clock of the test's own."""

from __future__ import annotations

from headwater.agent.lease import Lease, LeaseClock
from headwater.config import Config


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_lease_time_runs_from_sending() -> None:
    """An acknowledgement that took long leaves less of the lease."""
    clock = FakeClock()
    lease = LeaseClock(3.0, clock)
    assert not lease.holds(lease.term.generation)
    clock.now_s = 102.0
    lease.acknowledged(sent_s=100.0)
    generation = lease.term.generation
    clock.now_s = 102.9
    assert lease.holds(generation)
    clock.now_s = 103.0
    assert not lease.holds(generation)


def test_heartbeats_in_time_keep_one_generation() -> None:
    """As long as the lease never lapses, agents claimed in it stay claimed."""
    clock = FakeClock()
    lease = LeaseClock(3.0, clock)
    lease.acknowledged(100.0)
    generation = lease.term.generation
    for _ in range(20):
        clock.now_s += 1.0
        lease.acknowledged(clock.now_s - 0.1)
        assert lease.holds(generation)


def test_a_late_acknowledgement_does_not_revive_a_lapsed_lease() -> None:
    """Whoever waited the lease out may have decided to claim: a new generation begins."""
    clock = FakeClock()
    lease = LeaseClock(3.0, clock)
    lease.acknowledged(100.0)
    generation = lease.term.generation
    clock.now_s = 103.5
    lease.acknowledged(102.0)
    assert not lease.holds(generation)
    assert lease.holds(lease.term.generation) and lease.term.generation > generation


def test_an_acknowledgement_older_than_a_lease_gives_nothing() -> None:
    """A heartbeat that was sent longer ago than a lease says nothing about now."""
    clock = FakeClock()
    lease = LeaseClock(3.0, clock)
    lease.acknowledged(90.0)
    assert not lease.holds(lease.term.generation)


def test_an_older_acknowledgement_never_shortens_the_lease() -> None:
    """Two heartbeats may be acknowledged at once, in any order."""
    clock = FakeClock()
    lease = LeaseClock(3.0, clock)
    lease.acknowledged(100.0)
    lease.acknowledged(99.0)
    clock.now_s = 102.5
    assert lease.holds(lease.term.generation)


def test_it_is_strained_by_a_slow_answer_and_by_none() -> None:
    """A quarter of the lease is too long for a heartbeat, answered or not."""
    clock = FakeClock()
    lease = Lease(Config(bootstrap_servers="127.0.0.1:1", profile="fast"), clock)
    assert not lease.strained
    lease.round_trip_s = 0.16
    assert lease.strained
    lease.round_trip_s = 0.01
    lease._waiting.append(clock.now_s)
    assert not lease.strained
    clock.now_s += 0.16
    assert lease.strained
