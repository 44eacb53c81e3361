"""How snapshots are stored: compressed where they are large, and in several records where they are
larger than a broker takes in one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from headwater.compression import codec_for, compress, decompress
from headwater.errors import CorruptData
from headwater.log import encoding
from headwater.log.snapshots import Pointer, Snapshot
from headwater.wire import Record, codec

# With the rest of its record, this is below a broker's default limit for a message.
CHUNK_BYTES = 900_000
# Batches are compressed on their way anyway; what would take several records is worth more.
_COMPRESS_BYTES = 256 << 10
# A record that names chunks holds no payload, and so is small.
_NAMES_CHUNKS_BYTES = 8192
# Above the largest state, whatever a record says.
_MOST_BYTES = 80 << 20


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot on its way into the log: ``chunks`` are keys and values of records that must be
    written before :meth:`value`, which names their offsets.
    """

    snapshot: Snapshot
    codec: str
    stored: bytes
    chunks: tuple[tuple[str, bytes], ...] = ()

    def value(self, offsets: Sequence[int] = (), previous: Sequence[Pointer] = ()) -> bytes:
        """The value of the snapshots record, whose key is the snapshot's id."""
        snapshot, compressed = self.snapshot, self.codec != "none"
        return encoding.snapshot(
            snapshot,
            how=self.codec,
            original_size=len(snapshot.payload) if compressed else 0,
            compressed_size=len(self.stored) if compressed else 0,
            chunks=offsets,
            previous=previous or snapshot.previous,
            payload=b"" if self.chunks else self.stored,
        )


def seal(snapshot: Snapshot, *, compress_bytes: int = _COMPRESS_BYTES) -> Sealed:
    """``snapshot`` as it is stored: compressed from ``compress_bytes`` on, where that helps, and
    in chunks where it does not fit into one message of a broker's default size.
    """
    how, stored = "none", snapshot.payload
    if len(stored) >= compress_bytes:
        chosen = codec_for(len(stored))
        smaller = compress(stored, chosen)
        if len(smaller) < len(stored):
            how, stored = chosen.value, smaller
    chunks: tuple[tuple[str, bytes], ...] = ()
    if len(stored) > CHUNK_BYTES:
        starts = range(0, len(stored), CHUNK_BYTES)
        chunks = tuple(
            _chunk(snapshot.snapshot_id, number, stored[start : start + CHUNK_BYTES])
            for number, start in enumerate(starts)
        )
    return Sealed(snapshot=snapshot, codec=how, stored=stored, chunks=chunks)


def is_chunk_key(key: bytes) -> bool:
    """Whether a key of snapshots is that of a piece of one: its number comes last."""
    return key.rsplit(b"\0", 1)[-1].isdigit()


def _chunk(snapshot_id: str, number: int, data: bytes) -> tuple[str, bytes]:
    record: Record = {"snapshot_id": snapshot_id, "number": number, "data": data}
    return f"{snapshot_id}\x00{number}", codec("SnapshotChunk").encode(record)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The value of the record of a snapshot that fits into one."""
    sealed = seal(snapshot)
    assert not sealed.chunks, "a snapshot of several records has offsets to name"
    return sealed.value()


def chunks_of(value: bytes) -> tuple[int, ...]:
    """The offsets of the records that hold the payload of a snapshots record; none where it holds
    that itself. Raises :class:`UndecodableRecord`.
    """
    if len(value) > _NAMES_CHUNKS_BYTES:
        return ()
    return tuple(codec("Snapshot").decode(value)["chunks"])


def _no_chunks(offset: int) -> bytes | None:
    return None


def decode_snapshot(value: bytes, chunk_at: Callable[[int], bytes | None] = _no_chunks) -> Snapshot:
    """The snapshot of a record's value; its checksum is not looked at here.

    ``chunk_at`` gives the value at an offset of the same partition, for those in several records.
    Raises one of :data:`~.snapshots.PROOF_ERRORS` where bytes are missing or broken.
    """
    record = codec("Snapshot").decode(value)
    how, chunks = record.pop("codec"), record.pop("chunks")
    original, stored = record.pop("original_size"), record.pop("compressed_size")
    record["previous"] = tuple([Pointer(*p.values()) for p in record["previous"]])
    if chunks:
        record["payload"] = _join(record["snapshot_id"], chunks, chunk_at)
    if how != "none":
        if len(record["payload"]) != stored:
            raise CorruptData(
                f"snapshot {record['snapshot_id']!r}: {len(record['payload'])} bytes of payload, "
                f"and {stored} were stored", "size",
            )  # fmt: skip
        record["payload"] = decompress(record["payload"], how, original, _MOST_BYTES)
    return Snapshot(**record)


def _join(
    snapshot_id: str, offsets: Sequence[int], chunk_at: Callable[[int], bytes | None]
) -> bytes:
    pieces = []
    for number, offset in enumerate(offsets):
        value = chunk_at(offset)
        if value is None:
            raise CorruptData(f"snapshot {snapshot_id!r}: no chunk at offset {offset}", "chunk")
        piece = codec("SnapshotChunk").decode(value)
        if (piece["snapshot_id"], piece["number"]) != (snapshot_id, number):
            raise CorruptData(f"snapshot {snapshot_id!r}: offset {offset} is not its", "chunk")
        pieces.append(piece["data"])
    return b"".join(pieces)
