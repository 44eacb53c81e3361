"""The bytes put together by hand are Avro's."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headwater.log import encoding
from headwater.log.fold import Head
from headwater.log.records import encode_long
from headwater.log.snapshots import IndexEntry, Pointer, Snapshot, decode_entry, encode_entry
from headwater.wire import codec

LONG = st.integers(-(2**63), 2**63 - 1)
HASH = st.binary(min_size=32, max_size=32)
NONCE = st.binary(min_size=16, max_size=16)
POINTERS = st.lists(st.builds(Pointer, LONG, LONG, LONG, st.integers(0, 2**31 - 1)), max_size=70)
HEADS = st.builds(
    Head, st.text(), LONG, st.none() | NONCE, st.text(), NONCE, st.integers(0, 2**31 - 1),
    st.text(), st.none() | st.text(), LONG, LONG, HASH, HASH, st.booleans(), LONG,
)  # fmt: skip


def records(pointers: Any) -> list[dict[str, int]]:
    """Pointers as fastavro takes them."""
    return [msgspec.structs.asdict(pointer) for pointer in pointers]


@given(LONG)
def test_longs(value: int) -> None:
    """Every 64-bit integer is encoded as fastavro does it."""
    schema = codec("CheckpointState")
    fields = {"checkpoint_id": "", "agent_id": "", "codec": "", "version": value, "offset": 0}
    fields |= {"original_size": 0, "compressed_size": 0, "created_at": 0}
    assert schema.body(fields)[2:].startswith(encode_long(value))


@given(HEADS, HASH, POINTERS, LONG, LONG)
def test_index_entries(
    head: Head, digest: bytes, pointers: list[Pointer], version: int, at: int
) -> None:
    """Byte for byte what fastavro makes of the same record."""
    entry = IndexEntry(head, digest, tuple(pointers), version, at)
    record = msgspec.structs.asdict(head) | {
        "snapshot_hash": digest,
        "snapshots": records(pointers),
        "checkpoint_version": version,
        "checkpoint_at": at,
    }
    assert encode_entry(entry) == codec("SnapshotIndex").encode(record)
    assert decode_entry(encode_entry(entry)) == entry


@given(
    st.builds(
        Snapshot,
        snapshot_id=st.text(), agent_id=st.text(),
        kind=st.sampled_from(["FULL", "INCREMENTAL", "ORIGIN"]), from_version=LONG,
        to_version=LONG, from_hash=HASH, to_hash=HASH, sequence=LONG, epoch=LONG,
        nonce=st.none() | NONCE, events_offset=LONG, session_id=st.text(),
        request_id=st.none() | st.text(), node_id=st.text(), created_at=LONG, change_count=LONG,
        inapplicable=LONG, state_hash=st.none() | HASH, checksum=HASH, payload=st.binary(),
    ),
    st.sampled_from(["none", "gzip", "lz4", "snappy"]), LONG, LONG,
    st.lists(LONG, max_size=70), POINTERS, st.binary(),
)  # fmt: skip
def test_snapshots(
    found: Snapshot,
    how: str,
    original: int,
    stored: int,
    chunks: list[int],
    previous: list[Pointer],
    payload: bytes,
) -> None:
    """Byte for byte what fastavro makes of the same record."""
    record = msgspec.structs.asdict(found) | {
        "codec": how,
        "original_size": original,
        "compressed_size": stored,
        "chunks": chunks,
        "previous": records(previous),
        "payload": payload,
    }
    made = encoding.snapshot(
        found,
        how=how,
        original_size=original,
        compressed_size=stored,
        chunks=chunks,
        previous=previous,
        payload=payload,
    )
    assert made == codec("Snapshot").encode(record)
