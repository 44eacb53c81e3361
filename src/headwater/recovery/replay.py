"""Replays an agent's records from the first that the log holds, and says what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from confluent_kafka import Message

from headwater.errors import UndecodableRecord
from headwater.log.fold import Admission, Agent, fold, new_agent
from headwater.log.notes import Forget, read_note
from headwater.log.origin import Resolve, read_origin
from headwater.log.records import StateChange, parse
from headwater.log.resolve import read_snapshot
from headwater.log.snapshots import (
    PROOF_ERRORS,
    IndexEntry,
    Snapshot,
    extend_agent,
    start_agent,
)
from headwater.recovery.recover import Recovery
from headwater.state.describe import describe
from headwater.state.patch import decode_patch

NOT_APPLICABLE = "not applicable"
UNDECODABLE = "undecodable"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record of an agent's log, and what the fold made of it.

    ``outcome`` is a value of :class:`Admission`, "not applicable" (admitted, but its patch changed
    nothing), "undecodable" (``change`` is None, ``description`` says why), or "unknown" where
    what the record extends was deleted from the log. ``version`` and ``sequence`` are the agent's
    after it.
    """

    offset: int
    change: StateChange | None
    outcome: str
    version: int
    sequence: int
    size_bytes: int
    description: str


@dataclass(slots=True)
class Start:
    """Where a replay starts: at the agent's first record (``offset`` 0), or at the full snapshot
    that holds everything before ``offset``.
    """

    agent: Agent
    offset: int = 0


def history(recovery: Recovery, agent_id: str) -> Iterator[Entry]:
    """Every record of an agent's log, in order; reads its whole partition of events.

    Yields nothing for an agent that the log does not know.
    """
    key, partition = agent_id.encode(), recovery.partition_of(agent_id)
    topic = recovery.config.topic("events")
    with recovery.scans.lend() as reader:
        first, end = reader.range(topic, partition)
        start = start_of(recovery, partition, agent_id, first=first)
        for batch in reader.scan(topic, partition, first, end):
            for message in batch:
                if message.key() == key:
                    yield _entry(start, message)


def start_of(
    recovery: Recovery,
    partition: int,
    agent_id: str,
    *,
    first: int,
    entry: IndexEntry | None = None,
) -> Start:
    """Where to start a replay in a partition whose oldest record is at offset ``first``: at the
    first of the agent's snapshots behind which every event is still there.
    """
    if first == 0:
        return Start(new_agent(agent_id, recovery.resolve))
    entry = entry or recovery.index(partition).entry(agent_id.encode())
    if entry is None or not entry.snapshots:
        return Start(new_agent(agent_id, recovery.resolve))
    chain = (read_snapshot(recovery.fetch, partition, agent_id, p) for p in entry.snapshots)
    return start_within(chain, recovery.resolve, first)


def start_within(chain: Iterable[Snapshot], resolve: Resolve, first: int) -> Start:
    """Where a replay can start in a chain of snapshots that has events from offset ``first`` on:
    at the first one that holds all before that, or else the last. Raises one of ``PROOF_ERRORS``.
    """
    snapshots = iter(chain)
    snapshot = next(snapshots)
    agent = start_agent(snapshot, resolve)
    while True:
        enough = first <= snapshot.events_offset
        try:
            following = next(snapshots, None)
        except PROOF_ERRORS:
            if enough:
                break
            raise
        # In a cluster that was filled from a backup several begin at the same event: the first.
        if following is None or (enough and snapshot.events_offset < following.events_offset):
            break
        snapshot = following
        extend_agent(agent, snapshot)
    return Start(agent, snapshot.events_offset)


def _entry(start: Start, message: Message) -> Entry:
    agent, value, offset = start.agent, message.value() or b"", message.offset() or 0
    change: StateChange | None = None
    try:
        change = parse(message.key(), message.value())
    except UndecodableRecord as error:
        outcome, description = UNDECODABLE, str(error)
    else:
        outcome = UNKNOWN if offset < start.offset else take(agent, change)
        description = _description(change)
    return Entry(
        offset=offset,
        change=change,
        outcome=outcome,
        version=agent.head.version,
        sequence=agent.head.sequence,
        size_bytes=len(value),
        description=description,
    )


def take(agent: Agent, change: StateChange) -> str:
    """Fold one record, and its outcome as in :class:`Entry`."""
    before = agent.inapplicable
    admission = fold(agent, change)
    if admission is Admission.ADMITTED and agent.inapplicable > before:
        return NOT_APPLICABLE
    return admission.value


def _description(change: StateChange) -> str:
    origin = read_origin(change.kind, change.patch)
    if origin is not None:
        return f"takes on the state of {origin.agent!r} at version {origin.version}"
    try:
        note = read_note(change)
    except UndecodableRecord as error:
        return str(error)
    if isinstance(note, Forget):
        return f"gives up checkpoint {note.forget!r} {note.reason}".rstrip()
    if note is not None:
        return f"keeps {note.type} checkpoint {note.id!r} {note.label}".rstrip()
    if change.kind not in ("CHANGE", "RESTORE"):
        return _WORDS.get(change.kind, "")
    try:
        return describe(decode_patch(change.patch)).description
    except UndecodableRecord as error:
        return f"a patch that nobody can read: {error}"


_WORDS = {
    "CLAIM": "takes ownership",
    "RELEASE": "gives ownership up",
    "CHECKPOINT": "marks a version",
    "BARRIER": "marks a moment",
    "DELETE": "ends the agent's life",
}
