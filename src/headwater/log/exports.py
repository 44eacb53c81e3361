"""A checkpoint as one file that holds all that it takes to have its state again.

========  ==========================================================================
bytes     what
========  ==========================================================================
8         ``HWCKPT`` and the format's number, 1, in two digits
4         length of what follows, big-endian
...       the Checkpoint, as its topic holds it (Avro single-object)
4         length of what follows, big-endian
...       a full Snapshot of that version (the same), its payload compressed
32        SHA-256 of everything before
========  ==========================================================================
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from headwater.compression import Codec, adaptive, codec_for, compress
from headwater.errors import CorruptData, SchemaTooNew, UndecodableRecord
from headwater.log.checkpoints import Checkpoint, decode_checkpoint, encode_checkpoint
from headwater.log.fold import Agent, Head, genesis
from headwater.log.sealing import Sealed, decode_snapshot
from headwater.log.snapshots import FULL, full_snapshot, start_agent
from headwater.state.model import Document, state_hash

CODECS = ("by-size", "adaptive", *(codec.value for codec in Codec))
"""How a state can be compressed: by one codec, by its size, or by what turns out best."""

_NAME = b"HWCKPT"
_MAGIC = _NAME + b"01"
_DIGEST_BYTES = 32
_LENGTH_BYTES = 4


def encode_export(checkpoint: Checkpoint, document: Document, codec: str = "by-size") -> bytes:
    """The file of a checkpoint whose state is ``document``; ``codec`` is one of :data:`CODECS`.

    Raises :class:`CorruptData` where that is not the checkpoint's state.
    """
    agent = Agent(_head_of(checkpoint), document)
    snapshot = full_snapshot(
        agent, events_offset=0, node_id=checkpoint.node_id, created_at=checkpoint.created_at
    )
    if checkpoint.state_hash not in (None, snapshot.state_hash):
        raise _wrong("state_hash", "the state is not that of the checkpoint")
    chosen, stored = _compress(snapshot.payload, codec)
    value = Sealed(snapshot=snapshot, codec=chosen, stored=stored).value()
    parts = [_MAGIC]
    for part in (encode_checkpoint(checkpoint), value):
        parts += [len(part).to_bytes(_LENGTH_BYTES, "big"), part]
    body = b"".join(parts)
    return body + sha256(body).digest()


def decode_export(data: bytes) -> tuple[Checkpoint, Document]:
    """The checkpoint of a file, and its state, proved.

    Raises :class:`CorruptData` for a file that was cut off or changed, and where its parts do not
    belong together; :class:`~headwater.errors.DecompressionBomb` for a state that grows beyond
    what it declares; :class:`SchemaTooNew` for a file of a newer release.
    """
    if data[: len(_NAME)] != _NAME[: len(data)] or not data:
        raise _wrong("magic", "this is no file of a checkpoint")
    if len(data) < len(_MAGIC) + _DIGEST_BYTES:
        raise _wrong("truncated", f"the file ends after {len(data)} bytes")
    if data[: len(_MAGIC)] != _MAGIC:
        raise SchemaTooNew(
            f"a checkpoint's file in format {data[len(_NAME) : len(_MAGIC)]!r}; this release knows "
            "format 01: upgrade headwater to read it"
        )
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    record, rest = _cut(body[len(_MAGIC) :])
    value, rest = _cut(rest)
    if rest:
        raise _wrong("trailing", f"{len(rest)} bytes more than there should be")
    if sha256(body).digest() != digest:
        raise _wrong("checksum", "its bytes do not match its checksum")
    try:
        return _prove(decode_checkpoint(record), value)
    except UndecodableRecord as error:
        raise _wrong("record", str(error)) from error


def _prove(checkpoint: Checkpoint, value: bytes) -> tuple[Checkpoint, Document]:
    snapshot = decode_snapshot(value)
    expected = (checkpoint.agent_id, checkpoint.version, checkpoint.hash)
    if (snapshot.agent_id, snapshot.to_version, snapshot.to_hash) != expected:
        raise _wrong("pointer", "its snapshot is of another agent or version")
    if snapshot.kind != FULL:
        raise _wrong("kind", "its snapshot is no full one")
    document = start_agent(snapshot).document
    found = state_hash(checkpoint.agent_id, document)
    if found != snapshot.state_hash or checkpoint.state_hash not in (None, found):
        raise _wrong("state_hash", "its state is not that of the checkpoint")
    return checkpoint, document


def _cut(data: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(data[:_LENGTH_BYTES], "big")
    end = _LENGTH_BYTES + size
    if len(data) < _LENGTH_BYTES or len(data) < end:
        raise _wrong("truncated", f"{end:,} bytes are announced where {len(data):,} are")
    return data[_LENGTH_BYTES:end], data[end:]


def _compress(payload: bytes, codec: str) -> tuple[str, bytes]:
    if codec == "adaptive":
        found = adaptive(payload)
        return found.codec.value, found.data
    chosen = codec_for(len(payload)) if codec == "by-size" else Codec(codec)
    return chosen.value, compress(payload, chosen)


def _wrong(check: str, why: str) -> CorruptData:
    return CorruptData(f"not a checkpoint's file as it was written: {why}", check)


def _head_of(checkpoint: Checkpoint) -> Head:
    return msgspec.structs.replace(
        genesis(checkpoint.agent_id),
        version=checkpoint.version,
        sequence=checkpoint.sequence,
        hash=checkpoint.hash,
        session_id=checkpoint.session_id,
        request_id=checkpoint.request_id,
    )
