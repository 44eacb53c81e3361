"""Commits against a store in memory: what readers find is what the log says, always."""

from __future__ import annotations

import msgspec
import pytest
from confluent_kafka import Message

from headwater.errors import UndecodableRecord
from headwater.log.sealing import decode_snapshot, encode_snapshot
from headwater.log.snapshots import FULL, INCREMENTAL, split_patches
from headwater.state.patch import SET, encode_patch
from headwater.wire import codec
from streams.snapshots.planner import payload_of
from streams.snapshots.strategy import ChainLength, Outweigh
from tests.support.compaction import (
    STARTS,
    Author,
    Failure,
    check_store,
    messages,
)
from tests.support.rig import Rig

INCREMENTS_ONLY = ChainLength(longest=1000, share=1e9)


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


def test_a_deleted_agent_keeps_its_head_and_lists_nothing() -> None:
    """Its head stays, so that nothing old is ever admitted again."""
    rig, a = Rig(INCREMENTS_ONLY), Author("a")
    rig.add(a, a.claim(), a.say("1"))
    rig.add(a, a.say("2"))
    rig.add(a, a.raw("DELETE"))
    entry = rig.store.entry("a")
    assert (entry.head.deleted, entry.snapshots, entry.snapshot_hash) == (True, (), a.hash)
    rig.add(a, a.claim())
    rig.add(a, a.say("back"))
    assert rig.kinds("a") == [FULL]
    check_store(rig.store, rig.store.events)


def test_chains_are_merged() -> None:
    """A chain stays within its bound."""
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
    rig, a, b = Rig(Outweigh(factor=1.0, increments=4), cache_bytes=0), Author("a"), Author("b")
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
    check_store(rig.store, rig.store.events, previous=False)


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


def test_an_increment_that_leads_elsewhere_is_not_merged() -> None:
    """Right bytes of another history are no better than broken ones."""
    rig, a = Rig(Outweigh(factor=1000.0, increments=5), cache_bytes=0), Author("a")
    rig.add(a, a.claim(), a.say("1"))
    for n in range(5):
        rig.add(a, a.say(str(n)))
    offset = rig.chain("a")[-2].offset
    other = msgspec.structs.replace(decode_snapshot(rig.value(offset)), to_hash=bytes(32))
    rig.store.snapshots[offset] = (other.snapshot_id, encode_snapshot(other))
    assert rig.add(a, a.say("after")).merges == 0


def test_events_that_do_not_lead_to_the_head_make_no_snapshot(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the snapshot broken and its events gone, what is left is written, and said."""
    rig, a = Rig(ChainLength(longest=0), cache_bytes=0), Author("a")
    rig.add(a, a.claim(), a.say("1"))
    rig.add(a, a.say("2"))
    _spoil(rig, "a", 0)
    log, rig.store.events = rig.store.events, []
    rig.ledger.take(messages([(a.key, a.say("3"))], start=len(log)))
    counts = rig.commit()
    assert (counts.fulls, counts.increments, counts.full_failures) == (0, 1, 1)
    assert "do not lead to its head" in caplog.text


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


def test_an_increment_can_be_split_by_a_reader_deep_in_its_own_calls() -> None:
    """Patches nested almost to the recursion limit apply to nothing, and do no harm."""
    payload = payload_of([b"\x91" * 850 + b"\x00", b"\x90"])

    def deep(levels: int) -> list[bytes]:
        return deep(levels - 1) if levels else split_patches(payload)

    assert deep(200) == [b"\xc0", b"\x90"]


def test_payloads_are_what_their_patches_are() -> None:
    """Sound patches go in as they are."""
    patches = [encode_patch([(SET, ["step"], n)]) for n in range(5)]
    assert split_patches(payload_of(patches)) == patches
    with pytest.raises(UndecodableRecord):
        split_patches(b"\xdd\x00\x00\x00\x01")
