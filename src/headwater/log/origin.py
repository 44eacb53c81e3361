"""States that a log takes from elsewhere: a fork, a restore by reference, a repair.

The ``patch`` of a RESTORE is then a map instead of an array of operations. It names the snapshots
that lead to the state, which may be another agent's and in another partition, and patches to apply
to it. So a fork stores only what it changes itself, and a state of any size is restored by one
small record.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headwater.errors import UndecodableRecord
from headwater.state.model import Document

ALL = -1


class Base(msgspec.Struct, frozen=True, array_like=True):
    """One snapshot that an origin refers to. ``take`` says how many patches of an incremental one
    are applied; :data:`ALL` of them in all but the last.
    """

    agent_id: str
    partition: int
    offset: int
    from_version: int
    to_version: int
    take: int = ALL


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """A state by reference: ``agent``'s at ``version``.

    ``base`` begins with a snapshot that begins a chain; without any, the state before any change
    is meant. ``patches`` are applied to what that gives. ``state_hash`` (32 bytes) is the result's
    under ``agent``'s name, ``size`` about its bytes, ``hash`` the chain hash of that head where it
    is known.
    """

    agent: str
    version: int
    hash: bytes | None
    state_hash: bytes
    size: int
    base: tuple[Base, ...] = ()
    patches: tuple[bytes, ...] = ()


Resolve = Callable[[Origin], Document]
"""Gives the document that an origin refers to; it reads, so it comes from outside the core."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Origin)


def encode_origin(origin: Origin) -> bytes:
    """The bytes of an origin, for the ``patch`` of a RESTORE."""
    return _encode(origin)


def decode_origin(data: bytes) -> Origin:
    """The origin of a payload; :class:`UndecodableRecord` where it is none."""
    try:
        return _decode.decode(data)
    except msgspec.DecodeError as error:
        raise UndecodableRecord(f"this refers to no state: {error}") from error


def read_origin(kind: str, patch: bytes) -> Origin | None:
    """The origin that a record holds, None for any other record. Total: bytes that look like an
    origin and are none are a patch that does not apply.
    """
    if kind != "RESTORE" or not patch or not (patch[0] & 0xF0 == 0x80 or patch[0] in (0xDE, 0xDF)):
        return None
    try:
        return decode_origin(patch)
    except UndecodableRecord:
        return None


def unresolved(origin: Origin) -> Document:
    """The resolver of a reader that has no access to snapshots."""
    raise UndecodableRecord(
        f"a state that refers to snapshots of agent {origin.agent!r} cannot be read here"
    )
