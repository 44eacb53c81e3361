"""Follows what is in the topics, so that each pass reads only what is new."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message

from headwater.errors import HeadwaterError, SchemaTooNew
from headwater.log.checkpoints import decode_checkpoint, decode_state, is_state_key
from headwater.log.origin import decode_origin
from headwater.log.sealing import decode_snapshot
from headwater.log.snapshots import INCREMENTAL, ORIGIN, POSITION_KEY, decode_entry
from headwater.wire import codec

from .model import HELD, UNREADABLE, BackupPin, Indexed, Marked, Place, State, Stored
from .pins import BACKUP_KEY, decode_pin

Fetch = Callable[[int, int], bytes | None]

# Agent ids may hold anything, so keys are read from their end.
_CHUNK = re.compile(r"(.*\0\d+-\d+(?:\0c)?)\0\d+", re.DOTALL)
_SNAPSHOT = re.compile(r"(.*)\0(\d+)-(\d+)(\0c)?", re.DOTALL)


@dataclass(slots=True)
class Followed:
    """What one partition of snapshots, index and checkpoints holds, as far as it was read.

    ``next_offsets`` by topic: where reading goes on.
    """

    partition: int
    fetch: Fetch
    next_offsets: dict[str, int] = field(default_factory=dict)
    snapshots: dict[str, Stored] = field(default_factory=dict)
    chunks: dict[str, dict[str, int]] = field(default_factory=dict)
    entries: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    checkpoints: dict[bytes, Marked] = field(default_factory=dict)
    states: dict[bytes, State] = field(default_factory=dict)
    position: int = 0
    backup: BackupPin | None = None

    def index(self) -> dict[str, Indexed]:
        """The newest entry of each agent."""
        found = {}
        for name, (value, written_at) in self.entries.items():
            entry = decode_entry(value)
            offsets = tuple(p.offset for p in entry.snapshots)
            found[name] = Indexed(
                version=entry.head.version, offsets=offsets, written_at=written_at
            )
        return found

    def take_index(self, message: Message) -> None:
        """A record of the index."""
        key, value = message.key() or b"", message.value()
        if key == POSITION_KEY and value is not None:
            self.position = int(codec("Position").decode(value)["next_offset"])
        elif not key.startswith(b"!"):
            if value is None:
                self.entries.pop(key.decode(), None)
            else:
                self.entries[key.decode()] = value, message.timestamp()[1]

    def take_snapshot(self, message: Message) -> None:
        """A record of snapshots."""
        key, value = (message.key() or b"").decode(errors="replace"), message.value()
        chunk = _CHUNK.fullmatch(key)
        if chunk is not None:
            self._take_chunk(chunk[1], key, value)
        elif value is None:
            self.snapshots.pop(key, None)
        else:
            self.snapshots[key] = self._stored(key, value, message)

    def _take_chunk(self, owner: str, key: str, value: bytes | None) -> None:
        chunks = self.chunks.setdefault(owner, {})
        if value is not None:
            chunks[key] = len(key.encode()) + len(value)
            return
        chunks.pop(key, None)
        if not chunks:
            del self.chunks[owner]

    def _stored(self, key: str, value: bytes, message: Message) -> Stored:
        agent_id, kind = "", UNREADABLE
        versions = (0, 0)
        more: dict[str, Any] = {}
        if found := _SNAPSHOT.fullmatch(key):
            agent_id, versions = found[1], (int(found[2]), int(found[3]))
            try:
                kind, more = self._more(value)
                kind = HELD if found[4] is not None else kind
            except SchemaTooNew:
                raise
            except HeadwaterError:
                pass  # nobody can read it, so nothing that depends on it can be told
        return Stored(
            key=key,
            agent_id=agent_id,
            kind=kind,
            offset=message.offset() or 0,
            written_at=message.timestamp()[1],
            size=len(message.key() or b"") + len(value),
            from_version=versions[0],
            to_version=versions[1],
            **more,
        )

    def _more(self, value: bytes) -> tuple[str, dict[str, Any]]:
        record = codec("Snapshot").decode(value)
        base: tuple[Place, ...] = ()
        if record["kind"] == ORIGIN:
            snapshot = decode_snapshot(value, lambda offset: self.fetch(self.partition, offset))
            base = tuple((b.partition, b.offset) for b in decode_origin(snapshot.payload).base)
        versions = record["to_version"] - record["from_version"]
        return record["kind"], {
            "events_offset": record["events_offset"],
            "exact": record["kind"] != INCREMENTAL or record["change_count"] == versions,
            "session_id": record["session_id"],
            "base": base,
        }

    def take_checkpoint(self, message: Message) -> None:
        """A record of checkpoints."""
        key, value = message.key() or b"", message.value()
        if key == BACKUP_KEY:
            self.backup = None if value is None else decode_pin(value)
        elif key.startswith(b"!"):
            return
        elif value is None:
            self.checkpoints.pop(key, None)
            self.states.pop(key, None)
        elif is_state_key(key):
            self.states[key] = _state(message, key, value)
        else:
            self.checkpoints[key] = marked(message, key, value)


def marked(message: Message, key: bytes, value: bytes) -> Marked:
    """A checkpoint's record."""
    checkpoint = decode_checkpoint(value)
    return Marked(
        key=key,
        agent_id=checkpoint.agent_id,
        checkpoint_id=checkpoint.checkpoint_id,
        type=checkpoint.type,
        version=checkpoint.version,
        sequence=checkpoint.sequence,
        offset=message.offset() or 0,
        # Its maker's clock may be ahead.
        made_at=min(checkpoint.created_at, message.timestamp()[1]),
        size=len(key) + len(value),
        deleted=checkpoint.deleted,
        self_contained=checkpoint.self_contained,
    )


def _state(message: Message, key: bytes, value: bytes) -> State:
    state = decode_state(value)
    return State(
        key=key,
        agent_id=state.agent_id,
        checkpoint_id=state.checkpoint_id,
        version=state.version,
        held_at=message.timestamp()[1],
        offset=state.offset,
        size=len(key) + len(value),
    )
