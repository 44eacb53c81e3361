"""Reads what the layers of a recovery need, and walks them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from headwater.errors import HeadwaterError, RetryableError
from headwater.log.checkpoints import is_held_key
from headwater.log.fold import Agent
from headwater.log.records import parse
from headwater.log.sealing import decode_snapshot, is_chunk_key
from headwater.log.snapshots import PROOF_ERRORS, IndexEntry, Snapshot
from headwater.recovery.layers import (
    CHECKPOINT,
    DEPENDENCIES,
    EVENTS,
    NEWEST,
    OLDER,
    Attempt,
    Event,
    Events,
    Search,
    Source,
    unprovable,
    whole_replay,
)
from headwater.state.model import Document, state_hash

if TYPE_CHECKING:
    from headwater.recovery.recover import Recovery

Rebuild = Callable[[str], Document | None]
"""Derives an agent's state from what it depends on; None for an agent that declares nothing."""


def find_proof(
    recovery: Recovery, partition: int, entry: IndexEntry, sources: Iterable[Source]
) -> tuple[Agent, list[Attempt]]:
    """The agent at the indexed head, from the first layer that proves it, and all that was tried.

    Reads the agent's partitions of snapshots and events from end to end: this is the way for when
    the quick one failed. Raises :class:`Unprovable`.
    """
    agent, search, _ = find_last(recovery, partition, entry, sources)
    if search.tried and search.tried[-1].refused is None:
        return agent, search.tried
    raise unprovable(entry.head, search.tried)


def find_last(
    recovery: Recovery, partition: int, entry: IndexEntry, sources: Iterable[Source]
) -> tuple[Agent, Search, Events]:
    """Like :func:`find_proof`; but where nothing proves the indexed head, the agent at the newest
    version that anything proves, which may be the one before its first change.
    """
    search = Search(entry.head, entry.snapshot_hash, recovery.resolve)
    events = read_events(recovery, partition, entry.head.agent_id)
    hashes: set[bytes] = set()
    for layer, snapshots in _layers(recovery, partition, entry, sources, search.tried):
        hashes |= {s.state_hash for s in snapshots if s.state_hash and s.to_hash == entry.head.hash}
        search.offer(layer, snapshots)
        agent = search.climb(events)
        if agent is not None:
            return agent, search, events
    agent, refused = whole_replay(events, entry.head, recovery.resolve)
    search.tried.append(Attempt(layer=EVENTS, version=0, refused=refused))
    if refused is None:
        return agent, search, events
    if search.furthest is not None and search.reached >= agent.head.version:
        agent = search.furthest
    return _derived(recovery, entry, search, hashes) or agent, search, events


def _layers(
    recovery: Recovery,
    partition: int,
    entry: IndexEntry,
    sources: Iterable[Source],
    tried: list[Attempt],
) -> Iterator[tuple[str, list[Snapshot]]]:
    """Layers and what they hold; one that cannot be read is noted in ``tried`` and passed over."""
    held = read_snapshots(recovery, partition, entry.head.agent_id, tried)
    indexed = {pointer.offset for pointer in entry.snapshots}
    checkpoints = {
        at for at, snapshot in held.items() if is_held_key(snapshot.snapshot_id.encode())
    }
    yield NEWEST, [held[at] for at in held if at in indexed]
    yield OLDER, [held[at] for at in held if at not in indexed | checkpoints]
    yield CHECKPOINT, [held[at] for at in checkpoints]
    for source in sources:
        try:
            found = list(source.find(entry.head.agent_id))
        except HeadwaterError as error:
            tried.append(Attempt(layer=source.layer, version=None, refused=str(error)))
        else:
            if not found:
                nothing = "holds nothing of this agent"
                tried.append(Attempt(layer=source.layer, version=None, refused=nothing))
            yield source.layer, found


def read_snapshots(
    recovery: Recovery, partition: int, agent_id: str, tried: list[Attempt]
) -> Mapping[int, Snapshot]:
    """Every snapshot of an agent that the log still holds, by offset, whether or not anything
    lists it. Those that cannot be decoded are noted in ``tried``.
    """
    prefix, found, chunks = agent_id.encode() + b"\0", {}, {}
    values: dict[int, tuple[bytes, bytes]] = {}
    try:
        for offset, key, value in _scan(recovery, partition, prefix):
            if is_chunk_key(key):
                chunks[offset] = value
            else:
                values[offset] = key, value
    except PROOF_ERRORS as error:  # what came before the damage is still good
        tried.append(Attempt(layer=OLDER, version=None, refused=str(error)))
    for offset, (key, value) in values.items():
        try:
            found[offset] = decode_snapshot(value, chunks.get)
        except PROOF_ERRORS as error:
            refused = f"{key.decode(errors='replace')!r}: {error}"
            tried.append(Attempt(layer=OLDER, version=None, refused=refused))
    return found


def _scan(recovery: Recovery, partition: int, prefix: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    with recovery.scans.lend() as reader:
        for batch in reader.scan(recovery.config.topic("snapshots"), partition, None):
            for message in batch:
                key, value = message.key() or b"", message.value()
                if value is not None and key.startswith(prefix):
                    yield message.offset() or 0, key, value


def read_events(recovery: Recovery, partition: int, agent_id: str) -> Events:
    """The agent's own records that the log still holds; undecodable ones are left out, as the
    compactor leaves them out.
    """
    key, own, topic = agent_id.encode(), [], recovery.config.topic("events")
    with recovery.scans.lend() as reader:
        first, end = reader.range(topic, partition)
        for batch in reader.scan(topic, partition, first, end):
            for message in batch:
                if message.key() == key:
                    try:
                        change = parse(key, message.value())
                    except PROOF_ERRORS:
                        continue
                    value = message.value() or b""
                    own.append(Event(offset=message.offset() or 0, change=change, value=value))
    return Events(first=first, own=own)


def _derived(
    recovery: Recovery, entry: IndexEntry, search: Search, known: set[bytes]
) -> Agent | None:
    """The agent from what it depends on, if some record tells the hash that its state must have."""
    head = entry.head
    try:
        document = recovery.rebuild(head.agent_id)
    except RetryableError:
        raise
    except HeadwaterError as error:
        search.tried.append(Attempt(layer=DEPENDENCIES, version=head.version, refused=str(error)))
        return None
    if document is None:
        return None
    proved = state_hash(head.agent_id, document) in known
    refused = None if proved else (
        "the state that it derives is another one than at that version"
        if known
        else "no record tells the hash of that state; reconstruct() makes it a change of its own"
    )  # fmt: skip
    search.tried.append(Attempt(layer=DEPENDENCIES, version=head.version, refused=refused))
    return Agent(head, document, 0, recovery.resolve) if proved else None
