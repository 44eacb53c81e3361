"""What one instance knows of one agent, and what it hands over to be committed."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from headwater.log.checkpoints import Checkpoint
from headwater.log.fastpath import MovingHead
from headwater.log.fold import Head
from headwater.log.origin import Origin
from headwater.log.snapshots import Pointer


class Position(msgspec.Struct):
    """How far a partition has come, and what was refused on the way; as in ``Position.avsc``."""

    next_offset: int = 0
    repeats: int = 0
    stale: int = 0
    conflicts: int = 0
    dead_letters: int = 0


@dataclass(slots=True)
class Chain:
    """The snapshots of one agent. Touched by nobody but the commit that is under way.

    They lead to ``version`` and ``hash``. Without any, ``base`` is a head at which the state is
    the one that ``origin`` refers to, or else the empty document, and ``version`` and ``hash`` are
    its own.
    """

    pointers: tuple[Pointer, ...]
    version: int
    hash: bytes
    base: Head | None
    origin: Origin | None = None
    full_failures: int = 0
    skip_fulls: int = 0


class Tracked(MovingHead):
    """An agent's head, its snapshots, and the patches since the last harvest."""

    __slots__ = (
        "chain", "dirty", "key", "marked_at", "marked_version", "marks", "patches",
        "pending_bytes", "reset", "sealed",
    )  # fmt: skip

    def __init__(
        self, key: bytes, head: Head, chain: Chain, marked_version: int = 0, marked_at: int = 0
    ) -> None:
        super().__init__(head)
        self.key = key
        self.chain = chain
        self.dirty = False
        self.marked_version = marked_version
        self.marked_at = marked_at
        self.marks: list[Checkpoint] = []
        self._empty()

    def _empty(self) -> None:
        self.patches: list[bytes] = []
        self.pending_bytes = 0
        self.sealed: list[Segment] = []
        self.reset: Reset | None = None

    def seal(self, offset: int) -> None:
        """Close what is pending as an increment of its own; ``offset`` is that of what follows."""
        self.sealed.append(Segment(head=self.head, patches=self.patches, events_offset=offset))
        self.patches = []
        self.pending_bytes = 0

    def begin_anew(self, offset: int, origin: Origin | None) -> None:
        """Forget what is pending: the record at ``offset`` ended the agent's life, or put a state
        in place of the one that it had.
        """
        self._empty()
        self.reset = Reset(head=self.head, events_offset=offset + 1, origin=origin)

    def mark(self, checkpoint: Checkpoint) -> None:
        """Have a checkpoint written."""
        self.marks.append(checkpoint)
        if not checkpoint.deleted:
            self.marked_version = checkpoint.version
            self.marked_at = max(self.marked_at, checkpoint.created_at)

    def harvest(self, next_offset: int) -> Dirty:
        """Hand out what is pending, and start anew."""
        self.seal(next_offset)
        dirty = Dirty(
            key=self.key,
            chain=self.chain,
            segments=self.sealed,
            reset=self.reset,
            marks=self.marks,
            marked=(self.marked_version, self.marked_at),
        )
        self._empty()
        self.marks = []
        self.dirty = False
        return dirty


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Patches that fit into one increment, and the head that they lead to. Every record of the
    agent below ``events_offset`` is in that head.
    """

    head: Head
    patches: list[bytes]
    events_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """The head at which the agent's state was put away, the offset behind that record, and the
    state that took its place (None: the empty one).
    """

    head: Head
    events_offset: int
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dirty:
    """An agent with something new: one segment or more; ``reset`` if its state was put away before
    them; ``marks`` are checkpoints to write, ``marked`` version and time of the last one.
    """

    key: bytes
    chain: Chain
    segments: list[Segment]
    reset: Reset | None
    marks: list[Checkpoint] = field(default_factory=list)
    marked: tuple[int, int] = (0, 0)

    @property
    def head(self) -> Head:
        """The agent's head at the end of the batch."""
        return self.segments[-1].head


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that is no agent's, and why."""

    offset: int
    reason: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Everything that one commit writes: what offsets from ``start`` up to the position's did.

    ``events`` were taken in, of which ``refused`` extended no chain; ``size_bytes`` is that of the
    others.
    """

    start: int
    position: Position
    agents: list[Dirty]
    dead_letters: list[DeadLetter]
    events: int
    refused: int
    size_bytes: int
