"""Processes that kill themselves at named places: whatever that leaves behind, no promise breaks.

``HEADWATER_CRASH_AT=place:n`` ends a process with SIGKILL when it comes to a place for the n-th
time, so each crash is an item in a list, and happens.
"""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet, spread

pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.timeout(240)]

AGENTS = spread(4)

SESSION = [
    ("before_claim", 2, 1),
    ("after_claim", 2, 1),
    ("before_send", 30, 1),
    ("after_send", 30, 1),
    ("after_send", 30, 16),
    ("after_ack", 30, 1),
    ("before_flush", 6, 16),
    ("after_flush", 6, 16),
]
COMPACTOR = [
    pytest.param(place, hit, marks=[pytest.mark.long] if hit == rare else [])
    for place, rare in [
        ("before_snapshots_flush", 9),
        ("snapshots_flushed", 1),
        ("index_written", 9),
        ("before_commit", 1),
        ("after_commit", 9),
    ]
    for hit in (1, 9)
]
REVOKE = ["before_revoke_commit", "after_revoke_commit"]


@pytest.mark.parametrize(("place", "hit", "burst"), SESSION)
def test_an_agent_process_crashes(fleet: Fleet, place: str, hit: int, burst: int) -> None:
    """An owner that dies at this place leaves its agents to an heir, whole."""
    crash = {"HEADWATER_CRASH_AT": f"session.{place}:{hit}"}
    fleet.worker("crashes", AGENTS, crash, burst=burst).await_crash()
    heir = fleet.worker("heir", AGENTS, changes=10, burst=2)
    assert heir.wait() == 0, heir.tail()
    fleet.check()
    heirs = fleet.record.acked_by(AGENTS[0])
    assert any(writer.startswith("heir/") for writer in heirs)


@pytest.mark.parametrize(("place", "hit"), COMPACTOR)
def test_a_compactor_crashes(fleet: Fleet, place: str, hit: int) -> None:
    """A compactor that dies at this place, in its first commit or later, leaves nothing undone
    and nothing done twice to the one that follows.
    """
    worker = fleet.worker("worker", AGENTS, burst=4)
    crashes = fleet.compactor("crashes", HEADWATER_CRASH_AT=f"compactor.{place}:{hit}")
    crashes.await_crash()
    fleet.compactor("follows")
    fleet.await_acks(AGENTS, 4)
    worker.end()
    fleet.await_compacted()
    fleet.check()


@pytest.mark.parametrize("place", REVOKE)
def test_a_compactor_crashes_while_it_gives_up(fleet: Fleet, place: str) -> None:
    """A compactor that dies while a partition is taken from it, on either side of its last commit,
    leaves it to the others without a gap.
    """
    worker = fleet.worker("worker", AGENTS, burst=4)
    # Long between commits, so that whatever partition is taken from it has something pending.
    crash = {"HEADWATER_CRASH_AT": f"compactor.{place}:1"}
    crashes = fleet.compactor("crashes", commit_ms="10000", **crash)
    fleet.await_acks(AGENTS, 40)
    fleet.compactor("joins")
    crashes.await_crash()
    fleet.await_acks(AGENTS, 4)
    worker.end()
    fleet.await_compacted()
    fleet.check()
