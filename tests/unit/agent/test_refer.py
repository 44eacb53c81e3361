"""States taken on by reference: short where snapshots lead there, whole where none do for good."""

from __future__ import annotations

import pytest

from headwater.agent.refer import refer
from headwater.errors import TooLarge
from headwater.log.origin import Origin, decode_origin
from headwater.log.resolve import resolver
from headwater.recovery import Recovered
from headwater.recovery.past import Point
from headwater.recovery.travel import Trip
from headwater.state.model import state_hash
from tests.support.compaction import Author
from tests.support.pasts import MemoryLog
from tests.support.rig import Rig

LIMIT = 900_000


def trip_to(point: Point) -> Trip:
    """A trip that led to a point."""
    recovered = Recovered(
        agent=point.agent, partition=0, next_offset=0, records=0, size_bytes=0, snapshots=0,
        tail_records=0, seconds=0.0,
    )  # fmt: skip
    return Trip(recovered=recovered, point=point)


def refer_to(log: MemoryLog, version: int, limit_bytes: int = LIMIT) -> tuple[Point, Origin]:
    """What a restore of a version would write, checked to lead there."""
    point = log.past().at_version(version)
    origin = decode_origin(refer(trip_to(point), log.fetch, limit_bytes))
    name = log.key.decode()
    found = state_hash(name, resolver(log.fetch)(origin))
    assert found == origin.state_hash == state_hash(name, point.agent.document)
    return point, origin


def restore(rig: Rig, author: Author, version: int) -> None:
    """Restore a version by reference."""
    point = MemoryLog(rig, author.key).past().at_version(version)
    fetch = MemoryLog(rig, author.key).fetch
    rig.add(author, author.raw("RESTORE", refer(trip_to(point), fetch, LIMIT)))


def grown(changes: int = 4, size: int = 5000) -> tuple[Rig, Author, MemoryLog]:
    """An agent with some changes, each committed."""
    rig, author = Rig(), Author("a")
    rig.add(author, author.claim(), author.say("x" * size))
    for number in range(1, changes):
        rig.add(author, author.say(str(number)))
    return rig, author, MemoryLog(rig, author.key)


def test_what_is_compacted_is_not_copied() -> None:
    """Snapshots alone are named, whatever the size of the state."""
    _, _, log = grown()
    for version in range(1, 5):
        _, origin = refer_to(log, version)
        assert origin.base
        assert origin.patches == ()


def test_what_is_not_compacted_yet_is_added_as_it_was_written() -> None:
    """The snapshots that there are, and then the patches of the events behind them."""
    rig, author, log = grown()
    rig.take((author.key, author.say("a")), (author.key, author.say("b")))
    point, origin = refer_to(log, 6)
    assert (len(origin.base), len(origin.patches)) == (len(rig.chain("a")), 2)
    assert origin.hash == point.agent.head.hash


def test_a_state_that_is_another_refers_to_where_that_is() -> None:
    """To and fro between the same states, the way never gets longer."""
    rig, author, log = grown()
    for _ in range(20):
        restore(rig, author, 2)
        newest = rig.store.entry("a").head.version
        _, origin = refer_to(log, newest)
        assert all(base.agent_id == "a" and base.to_version <= 4 for base in origin.base)


def test_states_do_not_refer_to_one_another_for_ever() -> None:
    """After so many that hang on each other, the next one is copied."""
    rig, author, log = grown()
    kinds = set()
    for number in range(40):
        rig.add(author, author.say(f"{number}"))
        newest = rig.store.entry("a").head.version
        _, origin = refer_to(log, newest)
        kinds.add(bool(origin.base))
        restore(rig, author, newest)
    assert kinds == {True, False}


def test_a_way_that_does_not_lead_there_is_never_written() -> None:
    """Where a snapshot can be read no more, the state is copied instead."""
    _, _, log = grown()
    point = log.past().at_version(4)
    log.broken = {point.base[-1].offset: None}
    origin = decode_origin(refer(trip_to(point), log.fetch, LIMIT))
    assert origin.base == ()
    assert state_hash("a", resolver(log.fetch)(origin)) == origin.state_hash


def test_too_much_that_no_snapshot_holds_is_refused() -> None:
    """It says so, instead of writing what no broker takes."""
    rig, author, log = grown()
    rig.take((author.key, author.say("y" * 5000)))
    with pytest.raises(TooLarge, match="version 5"):
        refer_to(log, 5, limit_bytes=2000)
