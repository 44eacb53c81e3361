"""Recovery layer by layer: whatever is damaged, never a wrong state, and a proof if one is left."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.log.fold import Agent
from headwater.log.records import parse
from headwater.log.resolve import resolver
from headwater.log.sealing import decode_snapshot
from headwater.log.snapshots import Snapshot
from headwater.recovery.layers import (
    BACKUP,
    CHECKPOINT,
    LAYERS,
    NEWEST,
    OLDER,
    Event,
    Events,
    Search,
    unprovable,
    whole_replay,
)
from headwater.state.model import state_hash
from streams.snapshots.strategy import Outweigh
from tests.support.compaction import Author, folded
from tests.support.rig import Rig


def played(seed: int, changes: int = 40) -> tuple[Rig, Author]:
    """An agent's life with several chains, merges among them, and some records in the tail."""
    rig, author = Rig(Outweigh(factor=1.5, increments=4)), Author("a")
    dice = random.Random(seed)
    rig.add(author, author.claim(), author.say("begin"))
    for _ in range(changes):
        rig.take((author.key, author.say("x" * dice.randrange(60))))
        if dice.random() < 0.6:
            rig.commit()
    rig.commit()
    return rig, author


def snapshots(rig: Rig) -> list[Snapshot]:
    """Everything in the store."""
    return [decode_snapshot(value) for _, value in rig.store.snapshots.values()]


def events(rig: Rig, first: int = 0) -> Events:
    """The agent's events from an offset on."""
    own = [
        Event(offset=m.offset() or 0, change=parse(m.key(), m.value()), value=m.value() or b"")
        for m in rig.store.events
        if (m.offset() or 0) >= first
    ]
    return Events(first=first, own=own)


def searching(rig: Rig) -> Search:
    """A search for the indexed head."""
    entry = rig.store.entry("a")
    return Search(entry.head, entry.snapshot_hash, resolver(rig.store.fetch))


def truth(rig: Rig) -> Agent:
    """The agent at the indexed head, straight from the events."""
    return folded(rig.store.events, rig.store.position().next_offset)["a"]


def damaged(snapshot: Snapshot, at: int) -> Snapshot:
    """One bit of the payload is another."""
    payload = bytearray(snapshot.payload)
    payload[at % len(payload)] ^= 1 << at % 8
    return msgspec.structs.replace(snapshot, payload=bytes(payload))


def test_every_base_alone_leads_to_the_head() -> None:
    """Chains are linked: from each full snapshot ever written, increments lead to the newest one,
    without any event.
    """
    rig, _ = played(1)
    everything = snapshots(rig)
    fulls = [s for s in everything if s.kind == "FULL"]
    assert len(fulls) > 3
    nothing = Events(first=10**6, own=[])
    for base in fulls:
        search = searching(rig)
        search.offer(OLDER, [base, *(s for s in everything if s.kind != "FULL")])
        agent = search.climb(nothing)
        assert agent is not None, search.tried
        assert agent.head == truth(rig).head
        assert state_hash("a", agent.document) == state_hash("a", truth(rig).document)


def test_the_first_layer_that_proves_itself_wins() -> None:
    """Newer layers are asked first; what was refused is listed with its reason."""
    rig, _ = played(2)
    everything = snapshots(rig)
    fulls = sorted((s for s in everything if s.kind == "FULL"), key=lambda s: s.to_version)
    search = searching(rig)
    search.offer(NEWEST, [damaged(fulls[-1], 3)])
    assert search.climb(events(rig)) is None
    search.offer(CHECKPOINT, [fulls[0]])
    assert search.climb(Events(first=10**6, own=[])) is None
    search.offer(BACKUP, [fulls[1]])
    agent = search.climb(events(rig))
    assert agent is not None and agent.head == truth(rig).head
    assert [(t.layer, t.refused is None) for t in search.tried] == [
        (NEWEST, False), (CHECKPOINT, False), (BACKUP, True),
    ]  # fmt: skip
    assert "checksum" in str(search.tried[0]) and "were deleted" in str(search.tried[1])


@pytest.mark.parametrize("field", ["to_hash", "state_hash"])
def test_a_forged_base_is_refused(field: str) -> None:
    """Right checksums over another history, or another state, prove nothing."""
    rig, _ = played(3)
    forged = max((s for s in snapshots(rig) if s.kind == "FULL"), key=lambda s: s.to_version)
    forged = msgspec.structs.replace(forged, **{field: bytes(32)})
    search = searching(rig)
    search.offer(NEWEST, [forged])
    assert search.climb(events(rig)) is None
    assert search.furthest is None or search.furthest.head.version < truth(rig).head.version


def test_a_whole_replay_needs_the_first_event() -> None:
    """From a log whose beginning is gone no state is made."""
    rig, _ = played(4)
    head, resolve = rig.store.entry("a").head, resolver(rig.store.fetch)
    agent, refused = whole_replay(events(rig), head, resolve)
    assert refused is None and agent.head == head
    _, refused = whole_replay(events(rig, first=1), head, resolve)
    assert refused is not None and "deleted" in refused


def test_what_nothing_proves_says_all_that_was_tried() -> None:
    """The error lists every attempt and the way out."""
    rig, _ = played(5)
    search = searching(rig)
    search.offer(NEWEST, [damaged(s, 1) for s in snapshots(rig)])
    assert search.climb(Events(first=10**6, own=[])) is None
    error = unprovable(search.head, search.tried)
    assert error.tried == tuple(map(str, search.tried))
    assert "headwater repair a" in str(error)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_never_makes_a_wrong_state(data: st.DataObject) -> None:
    """Whatever is flipped, lost or deleted: the true state at the head, or none; and none only if
    no base with all that follows it is whole.
    """
    rig, _ = played(data.draw(st.integers(0, 20)), 20)
    everything = snapshots(rig)
    search = searching(rig)
    for layer in data.draw(st.permutations(LAYERS[:5])):
        kept = []
        for snapshot in everything:
            fate = data.draw(st.sampled_from(["kept", "kept", "lost", "damaged"]))
            if fate != "lost":
                kept.append(snapshot if fate == "kept" else damaged(snapshot, snapshot.sequence))
        search.offer(layer, kept)
    first = data.draw(st.integers(0, len(rig.store.events)))
    agent = search.climb(events(rig, first))
    if agent is not None:
        assert agent.head == truth(rig).head
        assert state_hash("a", agent.document) == state_hash("a", truth(rig).document)
    elif search.furthest is not None:
        version = search.furthest.head.version
        past = _at_version(rig, version)
        assert state_hash("a", search.furthest.document) == state_hash("a", past.document)


def _at_version(rig: Rig, version: int) -> Agent:
    for until in range(len(rig.store.events) + 1):
        found = folded(rig.store.events, until).get("a")
        if found is not None and found.head.version == version:
            return found
    raise AssertionError(f"the log has no version {version}")


def test_a_burst_that_rewrites_the_state_is_left_to_its_events() -> None:
    """The last increment of a chain is not written where it outweighs half of the new state: its
    versions are then had from the events, and the head from its own chain.
    """
    rig, author = Rig(Outweigh(factor=1.5, increments=4)), Author("a")
    rig.add(author, author.claim(), author.say("begin"))
    rig.add(author, *(author.say("x" * 1000) for _ in range(20)))
    everything = snapshots(rig)
    assert [s.kind for s in everything] == ["FULL", "FULL"]
    for known, found in ((Events(first=10**6, own=[]), False), (events(rig), True)):
        search = searching(rig)
        search.offer(OLDER, everything[:1])
        agent = search.climb(known)
        assert (agent is not None) is found
    assert agent is not None and agent.head == truth(rig).head
