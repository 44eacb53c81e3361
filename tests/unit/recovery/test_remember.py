"""Snapshots that a connection keeps, and reads of records that lie near each other."""

from __future__ import annotations

from headwater.kafka.reader import _NEAR, runs
from headwater.log.fold import Agent, genesis
from headwater.log.snapshots import Snapshot, full_snapshot
from headwater.recovery.remember import Remembered
from headwater.state.model import new_document


def snapshot(size: int) -> Snapshot:
    """One of about so many bytes."""
    document = new_document() | {"data": {"x": b"x" * size}}
    return full_snapshot(Agent(genesis("a"), document), events_offset=0, node_id="n", created_at=0)


def test_what_was_not_asked_for_the_longest_goes_first() -> None:
    """Within its bytes; what is larger than all of them is not kept."""
    kept, made = Remembered(35_000), snapshot(10_000)
    for offset in range(3):
        kept.put((0, offset), made)
    assert kept.get((0, 0)) is made
    kept.put((0, 3), made)
    assert [kept.get((0, offset)) is made for offset in range(4)] == [True, False, True, True]
    assert kept.get((1, 0)) is None
    kept.put((0, 9), snapshot(40_000))
    assert kept.get((0, 9)) is None
    assert kept.get((0, 3)) is made


def test_putting_the_same_again_takes_no_more_room() -> None:
    """Two threads may have read the same one."""
    kept, made = Remembered(25_000), snapshot(10_000)
    for _ in range(9):
        kept.put((0, 1), made)
    kept.put((0, 2), made)
    assert kept.get((0, 1)) is made
    assert kept.get((0, 2)) is made


def test_offsets_are_read_in_runs() -> None:
    """Small gaps are read over, large ones are not; order and repeats do not matter."""
    assert list(runs([], _NEAR)) == []
    assert list(runs([7], _NEAR)) == [[7]]
    assert list(runs([30, 1, 3, 7, 3, 12, 31], _NEAR)) == [[1, 3, 7], [12], [30, 31]]
