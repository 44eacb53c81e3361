"""The records of the checkpoints topic."""

from __future__ import annotations

from typing import Any

import msgspec

from headwater.log.fold import Head
from headwater.log.notes import Note
from headwater.state.values import unpack
from headwater.wire import codec

_STATE = b"state"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A moment of an agent that is kept; fields as in ``schemas/Checkpoint.avsc``."""

    checkpoint_id: str
    agent_id: str
    type: str
    label: str
    metadata: bytes
    version: int
    sequence: int
    hash: bytes
    state_hash: bytes | None
    session_id: str
    request_id: str | None
    node_id: str
    created_at: int
    deleted: bool = False
    self_contained: bool = False

    @property
    def details(self) -> dict[str, Any]:
        """The metadata, as it was given."""
        details: dict[str, Any] = unpack(self.metadata)
        return details


class CheckpointState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a checkpoint's state is; fields as in ``schemas/CheckpointState.avsc``."""

    checkpoint_id: str
    agent_id: str
    version: int
    offset: int
    codec: str
    original_size: int
    compressed_size: int
    created_at: int


def mark(head: Head, checkpoint_id: str, type_: str, **fields: Any) -> Checkpoint:
    """A checkpoint at ``head``."""
    given: dict[str, Any] = {
        "label": "",
        "metadata": b"\x80",
        "state_hash": None,
        "session_id": head.session_id,
        "request_id": head.request_id,
        "node_id": head.node_id,
        "created_at": head.updated_at,
        **fields,
    }
    return Checkpoint(
        checkpoint_id=checkpoint_id,
        agent_id=head.agent_id,
        type=type_,
        version=head.version,
        sequence=head.sequence,
        hash=head.hash,
        **given,
    )


def noted(note: Note) -> dict[str, Any]:
    """What a note says of its checkpoint, besides id and type: fields for :func:`mark`."""
    fields = msgspec.structs.asdict(note)
    del fields["id"], fields["type"]
    return fields


def checkpoint_key(agent_id: str, checkpoint_id: str) -> bytes:
    """Key of a Checkpoint record."""
    return f"{agent_id}\0{checkpoint_id}".encode()


def state_key(agent_id: str, checkpoint_id: str) -> bytes:
    """Key of the CheckpointState record of a checkpoint."""
    return b"%b\0%b" % (checkpoint_key(agent_id, checkpoint_id), _STATE)


def split_key(key: bytes) -> tuple[str, str, bool]:
    """Agent id, checkpoint id, and whether it is the key of a CheckpointState."""
    agent_id, checkpoint_id, *rest = key.split(b"\0")
    return agent_id.decode(), checkpoint_id.decode(), rest == [_STATE]


def is_state_key(key: bytes) -> bool:
    """Whether a key of checkpoints is that of a CheckpointState record."""
    return key.endswith(b"\0" + _STATE)


def is_held_key(key: bytes) -> bool:
    """Whether a key of snapshots is that of a checkpoint's own state."""
    return key.endswith(b"\0c")


def held_id(agent_id: str, version: int) -> str:
    """Id of the full snapshot that holds a checkpoint's state by itself."""
    return f"{agent_id}\0{version}-{version}\0c"


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The value of a Checkpoint record."""
    return codec("Checkpoint").encode(msgspec.structs.asdict(checkpoint))


def decode_checkpoint(value: bytes) -> Checkpoint:
    """The checkpoint of a record's value."""
    return Checkpoint(**codec("Checkpoint").decode(value))


def encode_state(state: CheckpointState) -> bytes:
    """The value of a CheckpointState record."""
    return codec("CheckpointState").encode(msgspec.structs.asdict(state))


def decode_state(value: bytes) -> CheckpointState:
    """The pointer of a record's value."""
    return CheckpointState(**codec("CheckpointState").decode(value))
