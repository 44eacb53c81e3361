"""StateChange records: how they are read from the log, and written to it quickly."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

import msgspec

from headwater.errors import ConfigError, SchemaTooNew, UndecodableRecord
from headwater.log.chain import record_digest
from headwater.wire import Record, codec

FOLD_VERSION = 1
MAX_AGENT_ID_BYTES = 512


class Kind(StrEnum):
    """What a record does; see ``schemas/StateChange.avsc``."""

    CLAIM = "CLAIM"
    CHANGE = "CHANGE"
    RELEASE = "RELEASE"
    CHECKPOINT = "CHECKPOINT"
    RESTORE = "RESTORE"
    BARRIER = "BARRIER"
    DELETE = "DELETE"


class StateChange(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the events topic. ``digest`` is what the hash chain takes in (32 bytes)."""

    agent_id: str
    fold: int
    kind: str
    epoch: int
    nonce: bytes | None
    session_id: str
    request_id: str | None
    node_id: str
    incarnation: bytes
    lease_ms: int
    prev: bytes | None
    sequence: int
    patch: bytes
    created_at: int
    digest: bytes


def check_agent_id(agent_id: str) -> str:
    """``agent_id``, if it can be one; else :class:`ConfigError` says why not."""
    if not agent_id or type(agent_id) is not str:
        raise ConfigError(f"an agent id is a non-empty string, not {agent_id!r}")
    if "\0" in agent_id:
        raise ConfigError(f"agent id {agent_id!r} holds a zero byte, which parts ids in keys")
    if agent_id.startswith("!"):
        raise ConfigError(f"agent id {agent_id!r}: ids that start with '!' are Headwater's own")
    try:
        size = len(agent_id.encode())
    except UnicodeEncodeError as error:
        raise ConfigError(f"agent id {agent_id!r} is not valid Unicode: {error}") from error
    if size > MAX_AGENT_ID_BYTES:
        raise ConfigError(f"agent id of {size} bytes; at most {MAX_AGENT_ID_BYTES} are allowed")
    return agent_id


def parse(key: bytes | None, value: bytes | None) -> StateChange:
    """The record of an events message.

    Raises :class:`UndecodableRecord` for what belongs in dead-letters, and :class:`SchemaTooNew`
    for what only a newer release can read.
    """
    if value is None or key is None:
        raise UndecodableRecord("an events record without a key or without a value")
    fields = codec("StateChange").decode(value)
    if fields["fold"] > FOLD_VERSION:
        raise SchemaTooNew(
            f"record for fold version {fields['fold']}; this release knows up to {FOLD_VERSION}: "
            "upgrade headwater to read it"
        )
    change = StateChange(**fields, digest=record_digest(value))
    _check(key, change)
    return change


def _check(key: bytes, change: StateChange) -> None:
    if change.agent_id.encode() != key:
        raise UndecodableRecord(f"key {key!r} is not the record's agent id {change.agent_id!r}")
    try:
        check_agent_id(change.agent_id)
    except ConfigError as error:
        raise UndecodableRecord(str(error)) from error
    if change.kind == "BARRIER":
        return
    if change.kind == "CLAIM" and (change.nonce is None or change.prev is not None):
        raise UndecodableRecord("a claim must have a nonce and no prev")
    if change.kind != "CLAIM" and change.prev is None:
        raise UndecodableRecord(f"a {change.kind} must have a prev")


def encode_long(value: int) -> bytes:
    """Avro's zig-zag variable-length encoding of an int of 64 bits."""
    value = value << 1 ^ value >> 63
    if value < 0x80:
        return _ONE_BYTE[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# Lengths and times repeat from one record to the next.
_known_long = lru_cache(4096)(encode_long)
_ONE_BYTE = [bytes((i,)) for i in range(0x80)]
_HAS_PREV = b"\x02"


class Encoder:
    """Writes one session's records; what is constant for the session is encoded once.

    Avro is concatenative, so the bytes equal fastavro's (a test holds them to that).
    """

    __slots__ = ("_prefixes", "_session")

    def __init__(
        self,
        *,
        agent_id: str,
        epoch: int,
        nonce: bytes | None,
        session_id: str,
        request_id: str | None,
        node_id: str,
        incarnation: bytes,
        lease_ms: int,
    ) -> None:
        self._session: Record = {
            "agent_id": agent_id,
            "fold": FOLD_VERSION,
            "epoch": epoch,
            "nonce": nonce,
            "session_id": session_id,
            "request_id": request_id,
            "node_id": node_id,
            "incarnation": incarnation,
            "lease_ms": lease_ms,
        }
        self._prefixes: dict[str, bytes] = {}

    def claim(self, created_at: int) -> bytes:
        """A claim of the session's epoch and nonce."""
        return codec("StateChange").encode(
            {
                **self._session,
                "kind": "CLAIM",
                "prev": None,
                "sequence": 0,
                "patch": b"",
                "created_at": created_at,
            }
        )

    def record(self, kind: str, prev: bytes, sequence: int, patch: bytes, created_at: int) -> bytes:
        """Any record that extends ``prev``."""
        prefix = self._prefixes.get(kind) or self._prefix(kind)
        return b"".join(
            (
                prefix,
                prev,
                encode_long(sequence),
                _known_long(len(patch)),
                patch,
                _known_long(created_at),
            )
        )

    def _prefix(self, kind: str) -> bytes:
        # Whatever follows prev's union branch is variable; a record with an empty tail is
        # encoded whole, and cut where that branch's 32 bytes begin.
        tail = {"prev": bytes(32), "sequence": 0, "patch": b"", "created_at": 0}
        whole = codec("StateChange").encode({**self._session, "kind": kind, **tail})
        prefix = whole[: -(32 + 3)]
        assert prefix.endswith(_HAS_PREV)
        self._prefixes[kind] = prefix
        return prefix
