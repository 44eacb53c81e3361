"""Admission record by record, and what is handed out for a commit."""

from __future__ import annotations

import logging

import pytest

from headwater.log.chain import partition_of
from headwater.log.fold import genesis
from headwater.log.snapshots import IndexEntry, encode_entry
from headwater.wire import MARKER
from streams.snapshots.ledger import Ledger
from streams.snapshots.tracked import Position
from tests.support.compaction import STARTS, Author, messages


def _ledger(segment_bytes: int = 900_000, partitions: int = 1, partition: int = 0) -> Ledger:
    return Ledger(partition, partitions, Position(), {}, segment_bytes)


def test_changes_are_kept_pending_until_they_are_harvested() -> None:
    """A batch holds every agent that something was admitted of, once."""
    ledger, a, b = _ledger(), Author("a"), Author("b")
    log = [(a.key, a.claim()), (b.key, b.claim()), (a.key, a.say("1")), (a.key, a.say("2"))]
    ledger.take(messages(log))
    batch = ledger.harvest()
    assert [dirty.key for dirty in batch.agents] == [b"a", b"b"]
    assert [len(dirty.segments[0].patches) for dirty in batch.agents] == [2, 0]
    assert batch.agents[0].head.hash == a.hash
    assert (batch.start, batch.position.next_offset, batch.events) == (0, 4, 4)
    assert not ledger.has_pending
    ledger.take(messages([(a.key, a.say("3"))], start=4))
    batch = ledger.harvest()
    assert [(d.key, len(d.segments[0].patches)) for d in batch.agents] == [(b"a", 1)]
    assert batch.start == 4


def test_records_from_before_the_position_are_passed_over() -> None:
    """What is delivered again after a seek is not taken in again, nor counted."""
    ledger, a = _ledger(), Author("a")
    log = messages([(a.key, a.claim()), (a.key, a.say("1"))])
    ledger.take(log)
    ledger.take(log)
    assert ledger.harvest().position == Position(next_offset=2)


def test_a_record_that_came_too_early_is_not_taken_in() -> None:
    """Where one is missing, reading starts again; only a gap that stays is the log's own."""
    ledger, a = _ledger(), Author("a")
    log = messages([(a.key, a.claim()), (a.key, a.say("1")), (a.key, a.say("2"))])
    ledger.take(log[:1])
    ledger.take(log[2:])
    assert (ledger.gap, ledger.next_offset) == (2, 1)
    ledger.take(log[1:])
    assert ledger.next_offset == 3
    (dirty,) = ledger.harvest().agents
    assert dirty.head.version == 2
    behind = messages([(a.key, a.say("3"))], start=4)
    ledger.take(behind)
    assert (ledger.gap, ledger.next_offset) == (4, 3)
    ledger.take(behind)
    assert ledger.next_offset == 5


def test_refused_records_are_counted_by_kind(caplog: pytest.LogCaptureFixture) -> None:
    """A repeat, a stale record and a conflict leave the head alone, and show in the position."""
    caplog.set_level(logging.INFO, "headwater.compactor")
    ledger, a = _ledger(), Author("a")
    claim, first = a.claim(), a.say("1")
    rival = Author("a")
    rival.claim()
    rival.sequence, conflicting = 7, rival.say("not this")
    log = [claim, first, first, claim, conflicting]
    ledger.take(messages([(a.key, value) for value in log]))
    batch = ledger.harvest()
    assert batch.position == Position(next_offset=5, repeats=1, stale=1, conflicts=1)
    assert batch.agents[0].head.hash == a.hash
    assert "repeat CHANGE of agent 'a'" in caplog.text


def test_what_nobody_can_read_is_set_aside_with_all_its_bytes() -> None:
    """Garbage, a missing key, a foreign key and a wrong partition become dead letters."""
    a = Author("a")
    right = partition_of(b"a", 4)
    ledger = _ledger(partitions=4, partition=(right + 1) % 4)
    claim = a.claim()
    ledger.take(messages([(b"x", b"junk"), (None, claim), (b"b", claim), (b"a", claim)]))
    batch = ledger.harvest()
    assert [letter.offset for letter in batch.dead_letters] == [0, 1, 2, 3]
    assert batch.dead_letters[0].value == b"junk"
    assert f"belongs in {right}" in batch.dead_letters[3].reason
    assert batch.position.dead_letters == 4
    assert batch.agents == []


def test_a_newer_schema_parks_the_partition_where_it_stands() -> None:
    """All before it can be committed; nothing behind it is taken in, however often it comes."""
    ledger, a = _ledger(), Author("a")
    unknown = MARKER + b"newer..." + b"body"
    log = messages([(a.key, a.claim()), (b"b", unknown), (a.key, a.say("1"))])
    ledger.take(log)
    ledger.take(log)
    assert ledger.parked is not None
    assert ledger.parked.offset == 1
    assert ledger.harvest().position.next_offset == 1


def test_an_unreadable_index_entry_parks_instead_of_blaming_the_event() -> None:
    """Without its head nothing of an agent can be decided, and the event is not at fault."""
    a = Author("a")
    ledger = Ledger(0, 1, Position(), {b"a": b"broken"}, 900_000)
    ledger.take(messages([(a.key, a.claim())]))
    assert ledger.parked is not None
    assert "index entry" in ledger.parked.reason


def test_entries_are_where_heads_come_from() -> None:
    """An agent that is in the index goes on from there, whatever came before."""
    a = Author("a")
    head = genesis("a")
    entry = encode_entry(IndexEntry(head, head.hash, ()))
    ledger = Ledger(0, 1, Position(next_offset=9), {b"a": entry}, 900_000)
    ledger.take(messages([(a.key, a.claim())], start=9))
    assert ledger.harvest().agents[0].head.hash == a.hash


def test_a_delete_forgets_what_is_pending() -> None:
    """What came before in the same batch is gone; what a new owner does afterwards is not."""
    ledger, a = _ledger(), Author("a")
    log = [a.claim(), a.say("1"), a.raw("DELETE")]
    deleted_hash = a.hash
    log += [a.claim(), a.say("2")]
    ledger.take(messages([(a.key, value) for value in log]))
    (dirty,) = ledger.harvest().agents
    assert dirty.reset is not None
    assert (dirty.reset.head.hash, dirty.reset.events_offset) == (deleted_hash, 3)
    assert dirty.reset.head.deleted
    assert [len(s.patches) for s in dirty.segments] == [1]
    assert not dirty.head.deleted


def test_patches_over_the_limit_go_into_segments_of_their_own() -> None:
    """No increment can outgrow a message, and each segment knows the head it leads to."""
    ledger, a = _ledger(segment_bytes=5000), Author("a")
    log = [a.claim()]
    heads = []
    for _ in range(10):
        log.append(a.change(*STARTS, (STARTS[0][0], ["task"], "x" * 1500)))
        heads.append(a.hash)
    ledger.take(messages([(a.key, value) for value in log]))
    (dirty,) = ledger.harvest().agents
    assert sum(len(s.patches) for s in dirty.segments) == 10
    assert all(sum(map(len, s.patches)) <= 5000 for s in dirty.segments)
    assert [s.head.hash in heads for s in dirty.segments] == [True] * len(dirty.segments)
    assert [s.head.version for s in dirty.segments][-1] == 10
    assert len(dirty.segments) > 2
