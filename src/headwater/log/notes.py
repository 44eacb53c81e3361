"""What the owner of an agent, or anybody, notes in its log without changing its state: that a
checkpoint is to be kept, or is given up.

A note is the ``patch`` of a CHECKPOINT record, which stands in the agent's chain and so marks an
exact head, or of a BARRIER record under the agent's key, which anybody may write at any time and
which marks the head that it happens to follow.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from headwater.errors import UndecodableRecord
from headwater.log.chain import HASH_BYTES
from headwater.log.records import StateChange
from headwater.state.values import pack, unpack

MAX_NOTE_BYTES = 64 << 10


class CheckpointType(StrEnum):
    """Why a checkpoint was made; see ``schemas/Checkpoint.avsc``."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"
    MILESTONE = "milestone"
    EMERGENCY = "emergency"


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A checkpoint that is to be kept. ``metadata`` is a packed map, ``state_hash`` 32 bytes;
    ``self_contained`` asks for a state of its own at once.
    """

    id: str
    type: str
    label: str = ""
    metadata: bytes = b"\x80"
    state_hash: bytes | None = None
    self_contained: bool = False


class Forget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A checkpoint that is given up, and why."""

    forget: str
    reason: str = ""


_encode = msgspec.msgpack.Encoder().encode
_note = msgspec.msgpack.Decoder(Note)
_forget = msgspec.msgpack.Decoder(Forget)


def encode_note(note: Note | Forget) -> bytes:
    """The bytes of a note, for a record's ``patch``."""
    return _encode(note)


def pack_metadata(metadata: dict[str, Any] | None) -> bytes:
    """Metadata as a note holds it; :class:`UnsupportedValue` for what no state can hold."""
    return pack(dict(metadata or {}), ("metadata",))


def read_note(change: StateChange) -> Note | Forget | None:
    """The note in a record; None where it holds none.

    Raises :class:`UndecodableRecord` for bytes that are no note.
    """
    data = change.patch
    if change.kind not in ("CHECKPOINT", "BARRIER") or not data:
        return None
    try:
        found = _read(data)
        if isinstance(found, Note):
            if type(unpack(found.metadata)) is not dict:
                raise ValueError("its metadata is no map")
            CheckpointType(found.type)
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise UndecodableRecord(f"the note of a {change.kind} is broken: {error}") from error
    checkpoint_id = found.id if isinstance(found, Note) else found.forget
    digest = found.state_hash if isinstance(found, Note) else None
    if not checkpoint_id or "\0" in checkpoint_id or len(data) > MAX_NOTE_BYTES:
        raise UndecodableRecord(f"the note of a {change.kind} has no usable checkpoint id")
    if digest is not None and len(digest) != HASH_BYTES:
        raise UndecodableRecord(f"the note of a {change.kind} has a state hash that is none")
    return found


def _read(data: bytes) -> Note | Forget:
    try:
        return _note.decode(data)
    except msgspec.ValidationError:
        return _forget.decode(data)
