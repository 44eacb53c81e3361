"""Snapshots and index entries: how they are made, and how a chain of them proves a state.

A chain is a full snapshot and the increments after it. It is proved when the checksum of each
payload matches, each increment starts from the head that the one before leads to, and the last
leads to the head that the index names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from headwater.errors import HeadwaterError, InvalidState, UndecodableRecord
from headwater.log import encoding
from headwater.log.chain import NO_RECORD
from headwater.log.fold import Agent, Head, apply_stored
from headwater.log.origin import Origin, Resolve, decode_origin, encode_origin, unresolved
from headwater.state.model import state_hash
from headwater.state.values import decode, pack
from headwater.wire import codec

POSITION_KEY = b"!partition"
OWNER_KEY = b"!owner"
FULL = "FULL"
INCREMENTAL = "INCREMENTAL"
ORIGIN = "ORIGIN"


class Pointer(msgspec.Struct, frozen=True):
    """Where one snapshot record is; offset and versions as in ``SnapshotIndex``, size in bytes."""

    offset: int
    from_version: int
    to_version: int
    size: int


class IndexEntry(msgspec.Struct, frozen=True):
    """An agent's head, and the chain of snapshots that leads to its version."""

    head: Head
    snapshot_hash: bytes
    snapshots: tuple[Pointer, ...]
    checkpoint_version: int = 0
    checkpoint_at: int = 0


def encode_entry(entry: IndexEntry) -> bytes:
    """The value of an index record."""
    return encoding.index_entry(entry)


def decode_entry(value: bytes) -> IndexEntry:
    """The entry of an index record's value."""
    record = codec("SnapshotIndex").decode(value)
    pointers = tuple([Pointer(*p.values()) for p in record.pop("snapshots")])
    snapshot_hash = record.pop("snapshot_hash")
    checkpoint = record.pop("checkpoint_version"), record.pop("checkpoint_at")
    return IndexEntry(Head(**record), snapshot_hash, pointers, *checkpoint)


def snapshot_key(agent_id: str, from_version: int, to_version: int) -> str:
    """Key and id of a snapshot: never reused, since versions only grow."""
    return f"{agent_id}\x00{from_version}-{to_version}"


def pack_patches(patches: Sequence[bytes]) -> bytes:
    """The payload of an increment: a MessagePack array of patches, in their order."""
    return b"\xdd" + len(patches).to_bytes(4, "big") + b"".join(patches)


def merge_payloads(payloads: Iterable[bytes]) -> tuple[int, bytes]:
    """Count and payload of one increment that does what several in a row do."""
    parts = list(payloads)
    count = sum(int.from_bytes(p[1:5], "big") for p in parts)
    return count, b"\xdd" + count.to_bytes(4, "big") + b"".join(p[5:] for p in parts)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot; fields as in ``schemas/Snapshot.avsc``, its payload whole and uncompressed."""

    snapshot_id: str
    agent_id: str
    kind: str
    from_version: int
    to_version: int
    from_hash: bytes
    to_hash: bytes
    sequence: int
    epoch: int
    nonce: bytes | None
    events_offset: int
    session_id: str
    request_id: str | None
    node_id: str
    created_at: int
    change_count: int
    inapplicable: int
    state_hash: bytes | None
    checksum: bytes
    payload: bytes
    previous: tuple[Pointer, ...] = ()


def full_snapshot(agent: Agent, *, events_offset: int, node_id: str, created_at: int) -> Snapshot:
    """A full snapshot of ``agent``, whose state the caller has validated."""
    head = agent.head
    return _snapshot(
        head,
        kind=FULL,
        from_version=head.version,
        from_hash=head.hash,
        events_offset=events_offset,
        node_id=node_id,
        created_at=created_at,
        change_count=0,
        inapplicable=agent.inapplicable,
        state_hash=state_hash(head.agent_id, agent.document),
        payload=pack(agent.document),
    )


def origin_snapshot(
    head: Head, origin: Origin, *, events_offset: int, node_id: str, created_at: int
) -> Snapshot:
    """A snapshot that begins a chain at ``head`` with the state that ``origin`` refers to."""
    return _snapshot(
        head,
        kind=ORIGIN,
        from_version=head.version,
        from_hash=head.hash,
        events_offset=events_offset,
        node_id=node_id,
        created_at=created_at,
        change_count=0,
        inapplicable=0,
        state_hash=None,
        payload=encode_origin(origin),
    )


def size_of(snapshot: Snapshot) -> int:
    """The ``size`` of a pointer to ``snapshot``, in bytes."""
    payload = snapshot.payload
    return decode_origin(payload).size if snapshot.kind == ORIGIN else len(payload)


def increment(
    head: Head,
    *,
    from_version: int,
    from_hash: bytes,
    change_count: int,
    payload: bytes,
    events_offset: int,
    node_id: str,
    created_at: int,
) -> Snapshot:
    """An increment that leads from a version and its head to ``head``."""
    return _snapshot(
        head,
        kind=INCREMENTAL,
        from_version=from_version,
        from_hash=from_hash,
        events_offset=events_offset,
        node_id=node_id,
        created_at=created_at,
        change_count=change_count,
        inapplicable=0,
        state_hash=None,
        payload=payload,
    )


def _snapshot(head: Head, *, from_version: int, payload: bytes, **fields: Any) -> Snapshot:
    return Snapshot(
        snapshot_id=snapshot_key(head.agent_id, from_version, head.version),
        agent_id=head.agent_id,
        from_version=from_version,
        to_version=head.version,
        to_hash=head.hash,
        sequence=head.sequence,
        epoch=head.epoch,
        nonce=head.nonce,
        session_id=head.session_id,
        request_id=head.request_id,
        checksum=sha256(payload).digest(),
        payload=payload,
        **fields,
    )


def check_payload(snapshot: Snapshot) -> None:
    """Raises :class:`InvalidState` unless the payload's bytes are those that were written."""
    if sha256(snapshot.payload).digest() != snapshot.checksum:
        raise InvalidState(
            f"snapshot {snapshot.snapshot_id!r}: its bytes do not match its checksum", "checksum"
        )


_SKEW_MS = 10 * 60_000
_OLD_MS = 7 * 86_400_000


def check_time(snapshot: Snapshot, now_ms: int) -> str | None:
    """A warning where a snapshot is older than a week at ``now_ms`` (ms since 1970), else None.

    Raises :class:`InvalidState` for one from the future, by more than clocks may differ.
    """
    if snapshot.created_at > now_ms + _SKEW_MS:
        raise InvalidState(
            f"snapshot {snapshot.snapshot_id!r} was made in the future: "
            f"{snapshot.created_at - now_ms} ms from now", "time",
        )  # fmt: skip
    days = (now_ms - snapshot.created_at) / 86_400_000
    if now_ms - snapshot.created_at > _OLD_MS:
        return f"snapshot {snapshot.snapshot_id!r} is {days:.0f} days old"
    return None


def check_pointer(snapshot: Snapshot, agent_id: str, pointer: Pointer) -> None:
    """Raises :class:`InvalidState` unless ``snapshot`` is what ``pointer`` means."""
    expected = (agent_id, pointer.from_version, pointer.to_version)
    found = (snapshot.agent_id, snapshot.from_version, snapshot.to_version)
    if expected != found:
        raise InvalidState(
            f"offset {pointer.offset} of snapshots holds {found}, not {expected}", "pointer"
        )


def start_agent(full: Snapshot, resolve: Resolve = unresolved) -> Agent:
    """The agent at a snapshot that begins a chain, proved. Its head knows only what admission
    needs.
    """
    check_payload(full)
    if full.kind == ORIGIN:
        return Agent(_head_at(full), resolve(decode_origin(full.payload)), 0, resolve)
    document = decode(full.payload)  # checked when it was written, as its checksum proves
    if not isinstance(document, dict):
        raise UndecodableRecord(f"snapshot {full.snapshot_id!r} holds no state document")
    return Agent(_head_at(full), document, full.inapplicable, resolve)


def extend_agent(agent: Agent, snapshot: Snapshot) -> None:
    """Apply a proved increment to the agent whose head it starts from."""
    _check_start(agent, snapshot)
    for patch in split_patches(snapshot.payload):
        apply_stored(agent, patch)
    agent.head = _head_at(snapshot)


def extend_partly(agent: Agent, snapshot: Snapshot, version: int) -> None:
    """Apply an increment up to ``version``, which it must lead to or pass.

    The agent's head is then only as much as can be known: its chain hash, sequence and record are
    those of the increment's start. Raises :class:`InvalidState` where patches do not stand for
    versions one by one.
    """
    _check_start(agent, snapshot)
    if snapshot.change_count != snapshot.to_version - snapshot.from_version:
        raise InvalidState(
            f"snapshot {snapshot.snapshot_id!r} does not hold each version by itself", "versions"
        )
    for patch in split_patches(snapshot.payload)[: version - snapshot.from_version]:
        apply_stored(agent, patch)
    agent.head = msgspec.structs.replace(agent.head, version=version)


def _check_start(agent: Agent, snapshot: Snapshot) -> None:
    check_payload(snapshot)
    if (snapshot.from_hash, snapshot.from_version) != (agent.head.hash, agent.head.version):
        raise InvalidState(
            f"snapshot {snapshot.snapshot_id!r} does not start where the chain before it ends",
            "chain",
        )


_split = msgspec.msgpack.Decoder(list[msgspec.Raw])


def split_patches(payload: bytes) -> list[bytes]:
    """The patches of an increment's payload, in their order."""
    try:
        return [bytes(raw) for raw in _split.decode(payload)]
    except msgspec.DecodeError as error:
        raise UndecodableRecord(f"an increment's payload is broken: {error}") from error


def _head_at(snapshot: Snapshot) -> Head:
    return Head(
        snapshot.agent_id, snapshot.epoch, snapshot.nonce, "", _NOBODY, 0, snapshot.session_id,
        snapshot.request_id, snapshot.sequence, snapshot.to_version, snapshot.to_hash, NO_RECORD,
        False, snapshot.created_at,
    )  # fmt: skip


_NOBODY = bytes(16)


def prove_chain(
    chain: Sequence[Snapshot], entry: IndexEntry, resolve: Resolve = unresolved
) -> Agent:
    """The agent at the head that ``entry`` names, from its whole chain of snapshots.

    Raises :class:`InvalidState` or :class:`UndecodableRecord` where the proof fails.
    """
    if not chain or chain[0].kind == INCREMENTAL:
        raise InvalidState(
            f"agent {entry.head.agent_id!r}: no full snapshot to start from", "chain"
        )
    agent = start_agent(chain[0], resolve)
    for snapshot in chain[1:]:
        extend_agent(agent, snapshot)
    if agent.head.hash != entry.snapshot_hash:
        raise InvalidState(
            f"agent {entry.head.agent_id!r}: its snapshots do not lead to the indexed head", "chain"
        )
    agent.head = entry.head
    return agent


PROOF_ERRORS: tuple[type[HeadwaterError], ...] = (InvalidState, UndecodableRecord)
