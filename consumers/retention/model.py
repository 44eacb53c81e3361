"""What there is, as far as retention has to know: records without their payloads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from headwater.log.notes import CheckpointType
from headwater.log.snapshots import FULL, INCREMENTAL, ORIGIN

HELD = "HELD"
"""A full snapshot that belongs to checkpoints alone."""
UNREADABLE = "UNREADABLE"
"""A record whose bytes nobody can read; it is never touched."""

Place = tuple[int, int]
"""Partition and offset of a record of snapshots."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A live record of ``snapshots``, without its payload.

    ``written_at`` is the log's timestamp, ``size`` its bytes of key and value. ``exact``: each
    version in it can be had back by itself. ``base``: what an ORIGIN refers to.
    """

    key: str
    agent_id: str
    kind: str
    offset: int
    written_at: int
    size: int
    from_version: int
    to_version: int
    events_offset: int = 0
    exact: bool = True
    session_id: str = ""
    base: tuple[Place, ...] = ()

    @property
    def begins(self) -> bool:
        """Whether a chain begins with it."""
        return self.kind in (FULL, ORIGIN)

    @property
    def increments(self) -> bool:
        """Whether it leads on from another one."""
        return self.kind == INCREMENTAL


class Indexed(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's newest index entry: its version, and the offsets that it lists."""

    version: int
    offsets: tuple[int, ...]
    written_at: int


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    """A record of a checkpoint. ``made_at``: milliseconds since 1970, never later than the log's
    own timestamp.
    """

    key: bytes
    agent_id: str
    checkpoint_id: str
    type: str
    version: int
    sequence: int
    offset: int
    made_at: int
    size: int
    deleted: bool = False
    self_contained: bool = False


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A record that says where a checkpoint's own state is."""

    key: bytes
    agent_id: str
    checkpoint_id: str
    version: int
    held_at: int
    offset: int
    size: int


class BackupPin(msgspec.Struct, frozen=True, kw_only=True):
    """How far a backup has come: it has copied what is below these offsets."""

    events: int
    snapshots: int
    checkpoints: int


@dataclass(slots=True, kw_only=True)
class Holdings:
    """One partition. ``chunks``: keys and sizes by the snapshot that they belong to. ``position``
    is the compactor's, ``young`` the first offset of events that is younger than the history is
    long, ``origins`` the places that events refer to which the compactor may not have met yet.
    """

    partition: int
    snapshots: Mapping[str, Stored] = field(default_factory=dict)
    chunks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    index: Mapping[str, Indexed] = field(default_factory=dict)
    checkpoints: Mapping[bytes, Marked] = field(default_factory=dict)
    states: Mapping[bytes, State] = field(default_factory=dict)
    position: int = 0
    events_start: int = 0
    young: int = 0
    backup: BackupPin | None = None
    origins: tuple[Place, ...] = ()


# The order in which checkpoints go where there are too many.
GOING_ORDER = {
    CheckpointType.AUTOMATIC.value: 0,
    CheckpointType.EMERGENCY.value: 1,
    CheckpointType.MANUAL.value: 2,
    CheckpointType.MILESTONE.value: 2,
}
