"""Commits against a store in memory: what readers find is what the log says, always."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import UndecodableRecord
from headwater.log.snapshots import FULL, INCREMENTAL, decode_snapshot, split_patches
from headwater.state.patch import SET, encode_patch
from headwater.wire import codec
from streams.snapshots.cache import SnapshotCache
from streams.snapshots.commit import Commit, Counts, Writing
from streams.snapshots.ledger import Ledger
from streams.snapshots.planner import Limits, payload_of
from streams.snapshots.strategy import ChainLength, Outweigh, Strategy
from tests.support.compaction import (
    STARTS,
    Author,
    Failure,
    MemoryStore,
    check_store,
    messages,
)

INCREMENTS_ONLY = ChainLength(longest=1000, share=1e9)


class Rig:
    """A log, a store, and commits from one to the other."""

    def __init__(
        self, strategy: Strategy | None = None, cache_bytes: int = 1 << 20, limit: int = 900_000
    ) -> None:
        self.store = MemoryStore()
        self.limit = limit
        self.counts = Counts()
        self.writing = Writing(
            strategy=strategy or Outweigh(),
            cache=SnapshotCache(cache_bytes),
            limits=Limits(full_bytes=limit, increment_bytes=limit),
            node_id="compactor-1",
        )
        self.ledger = self._taken_over()

    def _taken_over(self) -> Ledger:
        holdings = self.store.take_over()
        return Ledger(0, 1, holdings.position, holdings.entries, self.limit)

    def take(self, *records: tuple[bytes | None, bytes | None]) -> None:
        """Append records to the log and take them in."""
        log = self.store.events
        log += messages(records, start=len(log))
        self.ledger.take(log[self.ledger.next_offset :])

    def commit(self) -> Counts:
        """Commit what is pending."""
        counts = Commit(0, self.store, self.writing, self.ledger.harvest()).run()
        self.counts.add(counts)
        return counts

    def restart(self) -> None:
        """A new instance, which knows nothing but what was committed."""
        self.writing = Writing(
            strategy=self.writing.strategy,
            cache=SnapshotCache(1 << 20),
            limits=self.writing.limits,
            node_id="compactor-2",
        )
        self.ledger = self._taken_over()
        self.ledger.take(self.store.events)

    def add(self, author: Author, *values: bytes) -> Counts:
        """Take an author's records in and commit them."""
        self.take(*[(author.key, value) for value in values])
        return self.commit()

    def kinds(self, agent_id: str) -> list[str]:
        """The kinds of the snapshots in an agent's chain."""
        return [decode_snapshot(self.value(p.offset)).kind for p in self.chain(agent_id)]

    def chain(self, agent_id: str) -> tuple[Any, ...]:
        """The pointers of an agent."""
        return self.store.entry(agent_id).snapshots

    def value(self, offset: int) -> bytes:
        """The snapshot record at an offset."""
        value = self.store.snapshots[offset][1]
        assert value is not None
        return value


def test_the_first_snapshot_is_full_and_increments_follow() -> None:
    """An agent's chain begins with its state, and goes on with its patches."""
    rig, a = Rig(INCREMENTS_ONLY), Author("a")
    rig.add(a, a.claim(), a.say("1"))
    rig.add(a, a.say("2"), a.say("3"))
    assert rig.kinds("a") == [FULL, INCREMENTAL]
    assert [(p.from_version, p.to_version) for p in rig.chain("a")] == [(1, 1), (1, 3)]
    check_store(rig.store, rig.store.events)


def test_a_claim_alone_writes_an_index_entry_and_no_snapshot() -> None:
    """Ownership shows in the index at once; the state is where it was."""
    rig, a = Rig(), Author("a")
    first = rig.add(a, a.claim())
    assert (first.fulls + first.increments, first.index_entries) == (0, 1)
    rig.add(a, a.say("1"), a.raw("RELEASE"))
    before = rig.chain("a")
    counts = rig.add(a, a.claim())
    assert (counts.fulls + counts.increments, counts.index_entries) == (0, 1)
    assert rig.chain("a") == before
    assert rig.store.entry("a").head.owned
    check_store(rig.store, rig.store.events)


def test_a_deleted_agent_keeps_its_head_and_nothing_else() -> None:
    """Its snapshots get tombstones; its head stays, so that nothing old is ever admitted again."""
    rig, a = Rig(INCREMENTS_ONLY), Author("a")
    rig.add(a, a.claim(), a.say("1"))
    rig.add(a, a.say("2"))
    counts = rig.add(a, a.raw("DELETE"))
    assert counts.tombstones == 2
    assert rig.store.kept() == {}
    entry = rig.store.entry("a")
    assert (entry.head.deleted, entry.snapshots, entry.snapshot_hash) == (True, (), a.hash)
    rig.add(a, a.claim())
    rig.add(a, a.say("back"))
    assert rig.kinds("a") == [FULL]
    check_store(rig.store, rig.store.events)


def test_chains_are_merged_and_what_is_merged_gets_a_tombstone() -> None:
    """A chain stays within its bound, and nothing unlisted is kept."""
    rig, a = Rig(Outweigh(factor=100.0, increments=6)), Author("a")
    rig.add(a, a.claim(), a.say("x" * 5000))
    for n in range(40):
        rig.add(a, a.say(str(n)))
        assert len(rig.chain("a")) <= 7
        check_store(rig.store, rig.store.events)
    assert rig.counts.merges > 3
    assert rig.counts.fulls == 1


def test_without_memory_snapshots_are_read_back() -> None:
    """Full snapshots and merges need what was written before, from the store if need be."""
    rig, a, b = Rig(Outweigh(increments=4), cache_bytes=0), Author("a"), Author("b")
    for author in (a, b):
        rig.add(author, author.claim(), author.say("x" * 3000))
    for n in range(30):
        rig.take((a.key, a.say(str(n) * 50)), (b.key, b.say(str(n) * 40)))
        rig.commit()
    assert rig.counts.merges
    assert rig.counts.fulls > 2
    assert rig.store.reads
    assert rig.counts.rebuilt == 0
    check_store(rig.store, rig.store.events)


def _spoil(rig: Rig, agent_id: str, which: int) -> None:
    offset = rig.chain(agent_id)[which].offset
    key, value = rig.store.snapshots[offset]
    assert value is not None
    rig.store.snapshots[offset] = (key, value[:-1] + bytes([value[-1] ^ 1]))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_snapshot_that_fails_its_proof_is_replaced_from_the_events(which: int) -> None:
    """Damage is noticed, never built upon: the state is folded again from the log."""
    rig, a = Rig(ChainLength(longest=2, share=1e9), cache_bytes=0), Author("a")
    rig.add(a, a.claim(), a.say("1"))
    for n in range(3):
        rig.add(a, a.say(str(n)))
    assert rig.kinds("a") == [FULL, INCREMENTAL, INCREMENTAL, INCREMENTAL]
    _spoil(rig, "a", which)
    counts = rig.add(a, a.say("after"))
    assert (counts.rebuilt, counts.fulls) == (1, 1)
    check_store(rig.store, rig.store.events)


def test_increments_that_fail_their_proof_are_not_merged() -> None:
    """A merge would hide the damage under a new checksum."""
    rig, a = Rig(Outweigh(factor=1000.0, increments=5), cache_bytes=0), Author("a")
    rig.add(a, a.claim(), a.say("1"))
    for n in range(5):
        rig.add(a, a.say(str(n)))
    _spoil(rig, "a", -1)
    before = rig.chain("a")
    counts = rig.add(a, a.say("after"))
    assert (counts.merges, counts.increments) == (0, 1)
    assert rig.chain("a")[:-1] == before


def test_an_invalid_state_gets_increments_until_it_is_valid() -> None:
    """No full snapshot is made of a state that may not be restored; nothing is lost meanwhile."""
    rig, a = Rig(), Author("a")
    rig.add(a, a.claim(), a.change((SET, ["step"], 5), (SET, ["max_steps"], 1)))
    assert rig.kinds("a") == [FULL, INCREMENTAL]
    assert rig.chain("a")[0].to_version == 0
    assert rig.counts.full_failures == 1
    check_store(rig.store, rig.store.events)
    for n in range(30):
        rig.add(a, a.change((SET, ["step"], n + 5)))
        check_store(rig.store, rig.store.events)
    rig.restart()
    for _ in range(3):
        rig.add(a, a.change(*STARTS, (SET, ["max_steps"], 1000)))
    assert rig.counts.full_failures < 8
    check_store(rig.store, rig.store.events)
    rig.restart()
    rig.add(a, a.change((SET, ["task"], "x" * 5000)))
    assert rig.kinds("a") == [FULL]
    assert rig.chain("a")[0].to_version > 30


def test_an_invalid_state_after_a_delete_starts_from_the_empty_one() -> None:
    """The chain of a second life begins where the first one ended."""
    rig, a = Rig(), Author("a")
    rig.add(a, a.claim(), a.say("1"))
    rig.add(a, a.raw("DELETE"), a.claim(), a.change((SET, ["step"], 1)))
    assert rig.kinds("a") == [FULL, INCREMENTAL]
    assert rig.chain("a")[0].to_version == 2
    check_store(rig.store, rig.store.events)


def test_what_outgrows_a_message_is_split() -> None:
    """A batch of many large changes becomes several increments, none over the limit."""
    rig, a = Rig(INCREMENTS_ONLY, limit=4000), Author("a")
    rig.add(a, a.claim(), a.say("1"))
    rig.add(a, *[a.change((SET, ["task"], str(n) * 1500)) for n in range(8)])
    assert len(rig.chain("a")) > 3
    assert max(p.size for p in rig.chain("a")) <= 4000
    check_store(rig.store, rig.store.events)


def test_a_state_over_the_limit_keeps_its_increments() -> None:
    """A full snapshot that fits into no message is not written; recovery reads the increments."""
    rig, a = Rig(limit=4000), Author("a")
    rig.add(a, a.claim(), *[a.say(str(n) * 1000) for n in range(8)])
    assert rig.kinds("a")[0] == FULL
    assert rig.counts.full_failures == 1
    assert max(p.size for p in rig.chain("a")) <= 4000
    check_store(rig.store, rig.store.events)


@pytest.mark.parametrize("where", ["begin", "settle", "commit"])
def test_a_failed_commit_leaves_nothing_behind(where: str) -> None:
    """After a failure the partition is taken over again, and ends up as if nothing had been."""
    rig, a = Rig(), Author("a")
    rig.add(a, a.claim(), a.say("1"))
    before = dict(rig.store.index)
    rig.store.fail_at = where
    rig.take((a.key, a.say("2")))
    with pytest.raises(Failure):
        rig.commit()
    assert rig.store.index == before
    rig.restart()
    rig.commit()
    check_store(rig.store, rig.store.events)
    assert rig.store.entry("a").head.hash == a.hash


def test_dead_letters_hold_everything() -> None:
    """Reason, place, key, value and headers are in the record."""
    rig = Rig()
    rig.store.events.append(
        Message(topic="events", partition=0, offset=0, key=b"k", value=b"v", headers=[("h", b"1")])
    )
    rig.ledger.take(rig.store.events)
    rig.commit()
    (value,) = rig.store.dead_letters
    letter = codec("DeadLetter").decode(value)
    assert (letter["key"], letter["value"]) == (b"k", b"v")
    assert (letter["topic"], letter["partition"], letter["offset"]) == ("events", 0, 0)
    assert letter["headers"] == [{"name": "h", "value": b"1"}]
    assert "Avro" in letter["reason"]


@pytest.mark.parametrize(
    "patches",
    [
        [b"\x93\x00", b"\x01", b"\x02\x03"],
        [b"", b"\xc1", b"\x90"],
        [b"\x90\x90"],
        [b"\x91" * 600 + b"\x00", b"\x90"],
    ],
)
def test_bytes_that_are_no_patch_shift_nothing(patches: list[bytes]) -> None:
    """Whatever an owner writes as a patch, an increment's array has each patch in its place."""
    assert len(split_patches(payload_of(patches))) == len([p for p in patches if p])
    rig, a = Rig(INCREMENTS_ONLY), Author("a")
    rig.add(a, a.claim(), a.say("1"))
    rig.add(a, *[a.raw("CHANGE", patch) for patch in patches], a.say("2"))
    check_store(rig.store, rig.store.events)
    assert rig.kinds("a") == [FULL, INCREMENTAL]


def test_payloads_are_what_their_patches_are() -> None:
    """Sound patches go in as they are."""
    patches = [encode_patch([(SET, ["step"], n)]) for n in range(5)]
    assert split_patches(payload_of(patches)) == patches
    with pytest.raises(UndecodableRecord):
        split_patches(b"\xdd\x00\x00\x00\x01")


DEEDS = st.sampled_from(
    ["say"] * 8 + ["claim", "release", "delete", "garbage", "bad patch", "empty", "commit"] * 2
    + ["fail", "restart", "barrier", "checkpoint", "foreign"]
)  # fmt: skip
STRATEGIES: list[Strategy] = [
    Outweigh(),
    Outweigh(factor=50.0, increments=5),
    ChainLength(longest=3),
]


def _record(author: Author, deed: str, number: int) -> tuple[bytes, bytes]:
    kinds = {"release": "RELEASE", "delete": "DELETE", "checkpoint": "CHECKPOINT"}
    if deed == "claim":
        value = author.claim()
    elif deed in kinds:
        value = author.raw(kinds[deed])
    elif deed == "bad patch":
        value = author.raw("CHANGE", bytes([number % 256, 0x93]))
    elif deed == "empty":
        value = author.raw("CHANGE")
    elif deed == "garbage":
        return author.key, b"\xc3\x01garbage"[: number % 9]
    elif deed == "barrier":
        return author.key, author._session.record("BARRIER", author.hash, 0, b"", 3)
    elif deed == "foreign":
        return b"nobody", author._session.record("CHANGE", author.hash, 1, b"", 3)
    else:
        value = author.say(str(number) * 20)
    return author.key, value


@given(
    st.lists(st.tuples(DEEDS, st.integers(0, 2)), max_size=80),
    st.sampled_from(STRATEGIES),
    st.sampled_from([0, 1 << 20]),
)
@settings(max_examples=150)
def test_any_history_in_any_batches_is_what_the_log_says(
    deeds: list[tuple[str, int]], strategy: Strategy, cache_bytes: int
) -> None:
    """Commits, failures and restarts at any place leave exactly the fold of the log."""
    rig = Rig(strategy, cache_bytes=cache_bytes, limit=3000)
    authors = [Author(name) for name in ("a", "b", "c")]
    for number, (deed, who) in enumerate(deeds):
        if deed == "restart":
            rig.restart()
        elif deed in ("commit", "fail"):
            rig.store.fail_at = "commit" if deed == "fail" else None
            try:
                rig.commit()
            except Failure:
                rig.restart()
            else:
                check_store(rig.store, rig.store.events)
        else:
            rig.take(_record(authors[who], deed, number))
    rig.commit()
    check_store(rig.store, rig.store.events)
    assert rig.counts.rebuilt == 0
