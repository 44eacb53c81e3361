"""When processes were heard of: never longer ago than can be proved."""

from __future__ import annotations

from headwater.agent.hearing import Hearing
from headwater.fleet.pulse import Beat
from headwater.fleet.records import Heartbeat


def beat(incarnation: bytes, read_s: float, kind: str = "BEAT") -> Beat:
    """A heartbeat that was read at a time."""
    record = Heartbeat(
        node_id="n", incarnation=incarnation, kind=kind, sequence=1, lease_ms=600, sent_at=0
    )
    return Beat(record=record, partition=0, offset=0, read_s=read_s)


def test_who_was_not_heard_of_counts_from_the_beginning() -> None:
    """It may have beaten right before listening began."""
    hearing = Hearing(lambda: 100.0)
    assert hearing.last_s(b"x" * 16) == 100.0
    hearing.hear([beat(b"x" * 16, 105.0), beat(b"y" * 16, 106.0, "PROBE")], {0: 7})
    assert hearing.last_s(b"x" * 16) == 105.0
    assert hearing.last_s(b"y" * 16) == 100.0


def test_how_far_a_partition_was_read() -> None:
    """An offset is reached once the position is behind it; unknown partitions are not."""
    hearing = Hearing(lambda: 0.0)
    assert not hearing.reached(0, 0)
    hearing.hear([], {0: 7})
    assert hearing.reached(0, 6) and not hearing.reached(0, 7) and not hearing.reached(1, 0)


def test_forgetting_makes_nobody_look_silent_for_longer() -> None:
    """After very many processes the oldest are forgotten, to the side of patience."""
    hearing = Hearing(lambda: 0.0)
    many = [beat(i.to_bytes(16, "big"), float(i)) for i in range(10_001)]
    hearing.hear(many, {0: 1})
    assert hearing.last_s((10_000).to_bytes(16, "big")) == 10_000.0
    assert hearing.last_s((1).to_bytes(16, "big")) >= 1.0
