"""Pointers that are moved: by splicing, as decoding and encoding would do it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.backup.relocate import Lost, Relocation, pointed_to
from headwater.errors import HeadwaterError
from headwater.log.checkpoints import CheckpointState, decode_state, encode_state
from headwater.log.fold import genesis
from headwater.log.origin import Base, Origin
from headwater.log.resolve import resolver
from headwater.log.sealing import decode_snapshot, encode_snapshot, is_chunk_key
from headwater.log.snapshots import IndexEntry, Pointer, decode_entry, encode_entry, origin_snapshot
from headwater.state.model import new_document, state_hash
from headwater.wire import codec

KNOWN = {1: 11, 64: 1 << 40, 70_000: 3, 1 << 50: 99}
longs = st.sampled_from([0, 1, 63, 64, 127, 128, 8191, 8192, 1 << 31, 1 << 62])
offsets = st.sampled_from([*KNOWN, 2, 9_999])
texts = st.text(max_size=300)
pointers = st.lists(
    st.fixed_dictionaries(
        {
            "offset": offsets,
            "from_version": longs,
            "to_version": longs,
            "size": st.integers(0, 1 << 30),
        }
    ),
    max_size=12,
)
hashes = st.binary(min_size=32, max_size=32)
nonces = st.none() | st.binary(min_size=16, max_size=16)


def relocation(events_start: int = 1) -> Relocation:
    """One that knows ``KNOWN``, and a hole at 7."""
    return Relocation(KNOWN.get, lambda _, offset: KNOWN.get(offset), events_start, 7)


snapshots = st.fixed_dictionaries(
    {
        "snapshot_id": texts,
        "agent_id": texts,
        "kind": st.sampled_from(["FULL", "INCREMENTAL"]),
        **dict.fromkeys(
            ["from_version", "to_version", "sequence", "epoch", "events_offset"], longs
        ),
        **dict.fromkeys(["from_hash", "to_hash", "checksum"], hashes),
        "nonce": nonces,
        "session_id": texts,
        "request_id": st.none() | texts,
        "node_id": texts,
        **dict.fromkeys(["created_at", "change_count", "inapplicable"], longs),
        "state_hash": st.none() | hashes,
        "codec": st.sampled_from(["none", "gzip", "lz4", "snappy"]),
        "original_size": longs,
        "compressed_size": longs,
        "chunks": st.lists(offsets, max_size=5),
        "previous": pointers,
        "payload": st.binary(max_size=300),
    }
)


@given(snapshots, longs)
def test_a_spliced_snapshot_is_the_one_that_encoding_gives(
    record: dict[str, Any], start: int
) -> None:
    """Byte for byte; and only events_offset, chunks and what was before are others."""
    value, moving = codec("Snapshot").encode(record), relocation(start)
    spliced = moving._spliced_snapshot(value)
    assert spliced == moving.snapshot_slowly(value) == moving.snapshot(value)
    moved = codec("Snapshot").decode(spliced)
    assert moved["events_offset"] == start
    assert moved["chunks"] == [KNOWN.get(o, 7) for o in record["chunks"]]
    for pointer in record["previous"]:
        pointer["offset"] = KNOWN.get(pointer["offset"], 7)
    same = {k: v for k, v in moved.items() if k not in ("events_offset", "chunks")}
    assert same == {k: v for k, v in record.items() if k not in ("events_offset", "chunks")}


entries = st.fixed_dictionaries(
    {
        "agent_id": texts,
        **dict.fromkeys(["epoch", "sequence", "version", "updated_at"], longs),
        "nonce": nonces,
        **dict.fromkeys(["node_id", "session_id"], texts),
        "incarnation": st.binary(min_size=16, max_size=16),
        "lease_ms": st.integers(0, 1 << 30),
        "request_id": st.none() | texts,
        **dict.fromkeys(["hash", "record", "snapshot_hash"], hashes),
        "deleted": st.booleans(),
        "snapshots": pointers,
        "checkpoint_version": longs,
        "checkpoint_at": longs,
    }
)


@given(entries)
def test_a_spliced_entry_is_the_one_that_encoding_gives(record: dict[str, Any]) -> None:
    """Byte for byte; one that names what is not there is lost, either way."""
    value, moving = codec("SnapshotIndex").encode(record), relocation()
    named = [p["offset"] for p in record["snapshots"]]
    assert pointed_to(value) == max(named, default=-1)
    if set(named) <= KNOWN.keys():
        assert moving._spliced_entry(value) == moving.entry_slowly(value) == moving.entry(value)
        found = [p.offset for p in decode_entry(moving.entry(value)).snapshots]
        assert found == [KNOWN[o] for o in named]
    else:
        for move in (moving._spliced_entry, moving.entry_slowly, moving.entry):
            with pytest.raises(Lost):
                move(value)


@given(st.binary(max_size=400), st.booleans())
def test_bytes_that_are_no_record_are_refused(data: bytes, with_header: bool) -> None:
    """With one of Headwater's errors, whatever they are."""
    moving = relocation()
    for name, move in (("Snapshot", moving.snapshot), ("SnapshotIndex", moving.entry)):
        value = codec(name).header + data if with_header else data
        try:
            move(value)
        except HeadwaterError:
            continue
        codec(name).decode(move(value))


def test_an_origin_names_where_its_base_is_now() -> None:
    """In whichever partition; its checksum is that of what it says now."""
    origin = Origin(
        agent="parent",
        version=3,
        hash=None,
        state_hash=state_hash("parent", new_document()),
        size=1,
        base=(Base("parent", 3, 64, 1, 1), Base("parent", 3, 2, 1, 3, 1)),
    )
    head = genesis("fork")
    before = origin_snapshot(head, origin, events_offset=9, node_id="n", created_at=1)
    moved = decode_snapshot(relocation().snapshot(encode_snapshot(before)))
    assert moved.events_offset == 1
    from headwater.log.origin import decode_origin
    from headwater.log.snapshots import check_payload

    check_payload(moved)
    assert [b.offset for b in decode_origin(moved.payload).base] == [1 << 40, 7]
    with pytest.raises(HeadwaterError):
        resolver(lambda p, o: None)(decode_origin(moved.payload))


def test_the_other_records() -> None:
    """Where a checkpoint's state is moves or goes; the compactor begins at the start."""
    state = CheckpointState(
        checkpoint_id="c", agent_id="a", version=1, offset=64, codec="none", original_size=1,
        compressed_size=1, created_at=1,
    )  # fmt: skip
    moved = relocation().state(encode_state(state))
    assert moved is not None
    assert decode_state(moved) == msgspec.structs.replace(state, offset=1 << 40)
    assert relocation().state(encode_state(msgspec.structs.replace(state, offset=2))) is None
    position = {
        "partition": 1, "next_offset": 77, "node_id": "n", "updated_at": 1, "repeats": 2,
        "stale": 3, "conflicts": 4, "dead_letters": 5,
    }  # fmt: skip
    value = relocation(5).position(1, codec("Position").encode(position), 9)
    assert codec("Position").decode(value) == position | {"next_offset": 5, "updated_at": 9}
    first = codec("Position").decode(relocation(5).position(3, None, 9))
    assert (first["partition"], first["next_offset"], first["stale"]) == (3, 5, 0)
    assert is_chunk_key(b"a\0001-1\0000")
    assert not is_chunk_key(b"a\0001-1")
    entry = IndexEntry(genesis("a"), bytes(32), (Pointer(1, 0, 1, 5),))
    assert decode_entry(relocation().entry(encode_entry(entry))).snapshots[0].offset == 11
