"""One agent's past: the proved state at any of its versions, or after any part of its log.

Knows nothing of Kafka: what it reads comes through :class:`Log`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from headwater.errors import InvalidState, UndecodableRecord
from headwater.log.fold import PATCHING, Admission, Agent, fold, new_agent
from headwater.log.origin import ALL, Base, Resolve, read_origin
from headwater.log.records import StateChange, parse
from headwater.log.snapshots import (
    PROOF_ERRORS,
    IndexEntry,
    Pointer,
    Snapshot,
    check_payload,
    extend_agent,
    extend_partly,
    start_agent,
)
from headwater.recovery.chains import GONE, Chain, SnapshotReader, line_up, walk
from headwater.state.model import new_document

Accept = Callable[[Snapshot], bool]


class Log(Protocol):
    """What is read of one agent's past: snapshots of any partition, and its own events."""

    def fetch(self, partition: int, offset: int) -> bytes | None:
        """The value at a place of snapshots; None where there is none."""

    def listed(self) -> Iterable[tuple[bytes, int, int]]:
        """Key, offset and bytes of every snapshot record of the agent that there is. Slow."""

    def range(self) -> tuple[int, int]:
        """The offset of the first event that is kept, and that of the next one to come."""

    def events(self, start: int, until: int) -> Iterator[tuple[int, bytes | None]]:
        """Offset and value of the agent's own records from ``start`` to before ``until``."""


@dataclass(slots=True)
class Point:
    """A proved state and the way to it: snapshots, then patches; as an origin refers to it.

    ``next_offset`` is that of the first record which is not in it. ``exact`` says whether its
    head is a whole one; within an increment only the version is known.
    """

    agent: Agent
    next_offset: int
    base: list[Base] = field(default_factory=list)
    patches: list[bytes] = field(default_factory=list)
    exact: bool = True
    created_at: int = 0

    @property
    def version(self) -> int:
        """Version of the state."""
        return self.agent.head.version


class Missing(InvalidState):
    """What is asked for is kept no more; the text says so without naming the agent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, GONE)


class Past:
    """Finds points of one agent's past.

    ``entry`` is its index entry (None: there is none yet) and ``position`` where its tail begins.
    ``warnings`` collects what was refused on the way; ``tail_records`` counts events.
    """

    def __init__(
        self,
        agent_id: str,
        partition: int,
        log: Log,
        entry: IndexEntry | None,
        position: int,
        resolve: Resolve,
    ) -> None:
        self.agent_id = agent_id
        self.partition = partition
        self.entry = entry
        self.position = position
        self.warnings: list[str] = []
        self.tail_records = 0
        self.reader = SnapshotReader(log.fetch, partition, agent_id)
        self._found: list[Chain] | None = None
        self._log = log
        self.resolve = resolve

    def chains(self) -> Iterator[Chain]:
        """The chains of snapshots, newest first."""
        if self._found is not None:
            return iter(self._found)
        if self.entry is None or not self.entry.snapshots:
            return iter(())
        return walk(self.entry, self.reader, self.warnings.append)

    def search(self) -> bool:
        """Look for snapshots that no other names, as those of an agent that was deleted: from now
        on, :meth:`chains` are what was found. Whether there was anything; a second time, no.
        """
        if self._found is not None:
            return False
        self._found = line_up(self._log.listed())
        return bool(self._found)

    def newest(self, until: int | None = None) -> Point:
        """The agent as of the end of its log, or of the record before offset ``until``, which
        must not be before its tail.
        """
        return self._fold(self._indexed(), until)

    def at_version(self, version: int) -> Point:
        """The agent at one of its versions, 0 being before any change. Raises :class:`Missing`."""
        entry = self.entry
        if version == 0:
            return self._genesis()
        if entry is None or version > entry.head.version:
            point = self._fold(self._indexed(), None, version)
        elif version == entry.head.version:
            point = self._indexed()
        else:
            point = self._behind(version)
        if point.version != version:
            raise Missing(f"its newest version is {point.version}")
        return point

    def at_offset(self, offset: int) -> Point:
        """The agent as of the record before ``offset`` of its partition of events.

        Raises :class:`Missing` where the events that it takes are gone.
        """
        if offset >= self.position:
            return self.newest(offset)
        return self._fold(self._nearest(lambda snapshot: snapshot.events_offset <= offset), offset)

    def at_snapshot(self, created_at: int) -> Point:
        """The newest snapshot that was written at or before a time (ms since 1970)."""
        found = self._proved(lambda snapshot: snapshot.created_at <= created_at)
        if found is None:
            raise Missing("no snapshot of that time is kept")
        return found[0]

    def _genesis(self) -> Point:
        return Point(new_agent(self.agent_id, self.resolve), 0)

    def _indexed(self) -> Point:
        """The agent at the head of its index entry."""
        entry = self.entry
        if entry is None:
            return Point(new_agent(self.agent_id, self.resolve), self.position)
        if not entry.snapshots:
            return Point(Agent(entry.head, new_document(), 0, self.resolve), self.position)
        found = self._proved(lambda _: True)
        point = found[0] if found is not None else self._genesis()
        if point.agent.head.hash != entry.snapshot_hash:
            point = self._fold(point, self.position)
            if point.agent.head.hash != entry.head.hash:
                raise Missing("neither its snapshots nor its events lead to the indexed head")
        point.agent.head = entry.head
        point.next_offset = self.position
        return point

    def _behind(self, version: int) -> Point:
        """The agent at a version that the compactor has passed."""
        found = self._proved(lambda snapshot: snapshot.to_version <= version, version)
        point = self._genesis()
        if found is not None and self._leads_on(*found[1:]):
            point, _, following = found
            if point.version < version and following is not None:
                self._extend_partly(point, following, version)
        if point.version == version:
            return point
        return self._fold(point, None, version)

    def _extend_partly(self, point: Point, pointer: Pointer, version: int) -> None:
        if not pointer.from_version < version < pointer.to_version:
            return
        try:
            extend_partly(point.agent, self.reader.read(pointer), version)
        except PROOF_ERRORS as error:
            self.warnings.append(str(error))
            return
        point.base.append(self._based(pointer, version - pointer.from_version))
        point.exact = False

    def _leads_on(self, chain: Chain, following: Pointer | None) -> bool:
        """Whether what comes after a point in its chain leads to where the chain must lead.

        What is unreadable there says nothing against the point; what leads elsewhere does.
        """
        try:
            reached = None
            for pointer in chain.pointers if following is not None or chain.hash else ():
                snapshot = self.reader.read(pointer)
                if reached is not None and snapshot.from_hash != reached:
                    raise InvalidState(f"{snapshot.snapshot_id!r} does not follow", "chain")
                reached = snapshot.to_hash
        except PROOF_ERRORS as error:
            self.warnings.append(f"after version {chain.first}: {error}")
            return getattr(error, "check", "") != "chain"
        if chain.hash is None or reached == chain.hash:
            return True
        self.warnings.append(f"the chain from version {chain.first} on leads elsewhere")
        return False

    def _nearest(self, accept: Accept) -> Point:
        """The newest whole point that ``accept`` takes."""
        found = self._proved(accept)
        return found[0] if found is not None else self._genesis()

    def _proved(
        self, accept: Accept, version: int | None = None
    ) -> tuple[Point, Chain, Pointer | None] | None:
        """The newest proved snapshot that ``accept`` takes, its chain, and what follows in it.

        ``accept`` must take every snapshot older than one that it takes. With ``version``, it
        takes those up to there, which need not be read to tell.
        """
        chains = self.chains()
        for chain in chains:
            if version is not None and chain.first > version:
                continue
            try:
                if not accept(self.reader.read(chain.pointers[0])):
                    continue
            except PROOF_ERRORS:
                return None  # told by `walk`, unless it is simply gone
            return self._along(chain, chains, accept)
        return None

    def _along(
        self, chain: Chain, older: Iterator[Chain], accept: Accept
    ) -> tuple[Point, Chain, Pointer | None] | None:
        begun = self._begin(chain, older)
        if begun is None:
            return None
        point = begun
        self.reader.ahead(chain.pointers[1:])
        for pointer in chain.pointers[1:]:
            try:
                snapshot = self.reader.read(pointer)
                if not accept(snapshot):
                    return point, chain, pointer
                extend_agent(point.agent, snapshot)
            except PROOF_ERRORS as error:
                self.warnings.append(str(error))
                return point, chain, pointer
            self._moved(point, snapshot, pointer)
        return point, chain, None

    def _begin(self, chain: Chain, older: Iterator[Chain]) -> Point | None:
        """The point at which a chain begins; where its record is broken, the chain that it
        replaced leads there, too.
        """
        pointer = chain.pointers[0]
        try:
            snapshot = self.reader.read(pointer)
            point = Point(start_agent(snapshot, self.resolve), 0)
        except PROOF_ERRORS as error:
            self.warnings.append(str(error))
            before = next(older, None)
            found = self._along(before, older, lambda _: True) if before is not None else None
            return found[0] if found is not None else None
        self._moved(point, snapshot, pointer)
        return point

    def _moved(self, point: Point, snapshot: Snapshot, pointer: Pointer) -> None:
        point.base.append(self._based(pointer))
        point.next_offset = snapshot.events_offset
        point.created_at = snapshot.created_at

    def _based(self, pointer: Pointer, take: int = ALL) -> Base:
        versions = pointer.from_version, pointer.to_version
        return Base(self.agent_id, self.partition, pointer.offset, *versions, take)

    def _fold(self, point: Point, until: int | None, version: int | None = None) -> Point:
        """Take events in up to before offset ``until``, or until there is the ``version``."""
        first, newest = self._log.range()
        end, start = newest if until is None else until, max(first, point.next_offset)
        if point.next_offset >= end or (version is not None and point.version >= version):
            return point
        whole = start == point.next_offset
        for offset, value in self._log.events(start, end):
            self.tail_records += 1
            try:
                # A record that is admitted because of the one before it proves that there was
                # none of this agent's among the events that are gone; a claim does not.
                whole |= take_event(point, parse(self.agent_id.encode(), value))
            except UndecodableRecord:
                continue  # the compactor sets it aside
            if version is not None and point.version == version:
                point.next_offset = offset + 1
                return point
        if not whole:
            raise Missing("neither snapshots nor events of it are kept")
        point.next_offset = end
        return point

    def held(self, pointer: Pointer, state: bytes | None) -> Point:
        """A state that a full snapshot outside of every chain holds; ``state`` is the hash that it
        must have, where that is known. Raises one of ``PROOF_ERRORS``.
        """
        snapshot = self.reader.read(pointer)
        check_payload(snapshot)
        if state is not None and snapshot.state_hash != state:
            raise InvalidState(f"snapshot {snapshot.snapshot_id!r} holds another state", "state")
        point = Point(start_agent(snapshot, self.resolve), 0)
        self._moved(point, snapshot, pointer)
        return point


def take_event(point: Point, change: StateChange) -> bool:
    """Take one record of the log in, and note the way that it adds; whether it was admitted
    because of the record before it.
    """
    agent = point.agent
    if fold(agent, change) is not Admission.ADMITTED:
        return False
    origin = read_origin(change.kind, change.patch)
    if origin is not None:
        point.base, point.patches = list(origin.base), list(origin.patches)
    elif change.kind == "DELETE":
        point.base, point.patches = [], []
    elif change.patch and change.kind in PATCHING:
        point.patches.append(change.patch)
    return change.kind != "CLAIM"
