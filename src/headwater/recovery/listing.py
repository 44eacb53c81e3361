"""An agent's snapshots, as people look for them: the last of each session, newest first."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from headwater.errors import AgentNotFound
from headwater.log.fold import Agent
from headwater.log.snapshots import (
    INCREMENTAL,
    PROOF_ERRORS,
    Pointer,
    Snapshot,
    extend_agent,
    split_patches,
    start_agent,
)
from headwater.recovery.chains import Chain
from headwater.recovery.past import Past
from headwater.recovery.recover import Recovery
from headwater.recovery.travel import past_of
from headwater.state.describe import Changes, describe
from headwater.state.patch import decode_patch

KEPT = timedelta(hours=24)
LIMIT = 10
_MOST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotInfo:
    """One snapshot. ``snapshot_id`` is "from-to", unique for the agent and never used again.

    ``kind`` is "full", "incremental" or "origin" (a state that is referred to), ``base_id`` the
    snapshot that an incremental one extends, ``records`` how many have to be read for its state,
    ``size_bytes`` its own. ``changes`` says what an incremental one changes. Where the state could
    not be proved, ``status`` and ``step`` are None and ``error`` says why.
    """

    snapshot_id: str
    agent_id: str
    session_id: str
    kind: str
    base_id: str | None
    version: int
    status: str | None
    step: int | None
    created_at: datetime
    size_bytes: int
    records: int
    changes: Changes | None = None
    error: str | None = None


def list_snapshots(
    recovery: Recovery,
    agent_id: str,
    session: str | None = None,
    limit: int = LIMIT,
    kept: timedelta = KEPT,
) -> list[SnapshotInfo]:
    """The last ``limit`` snapshots of each session, or of ``session`` alone, newest first, none
    older than ``kept``; of no more than the agent's newest thousand, or it might take minutes.
    Raises :class:`AgentNotFound`.
    """
    past = past_of(recovery, agent_id)
    if past.entry is None and not past.newest().agent.head.sequence:
        raise AgentNotFound(f"agent {agent_id!r} is not in the log")
    newest = islice(newest_first(past), _MOST)
    return last_of_each(newest, session, limit, time.time() - kept.total_seconds())


def last_of_each(
    infos: Iterable[SnapshotInfo], session: str | None, limit: int, since: float
) -> list[SnapshotInfo]:
    """Those of ``infos``, newest first, that are listed; ``since`` in seconds since 1970."""
    found: list[SnapshotInfo] = []
    counts: Counter[str] = Counter()
    for info in infos:
        if info.created_at.timestamp() < since:
            break
        if session in (None, info.session_id) and counts[info.session_id] < limit:
            counts[info.session_id] += 1
            found.append(info)
        if session is not None and counts[session] >= limit:
            break
    return found


def newest_first(past: Past) -> Iterator[SnapshotInfo]:
    """Every snapshot in an agent's chains, each chain read when it is come to."""
    for chain in past.chains():
        yield from reversed(list(_chain(past, chain)))


def _chain(past: Past, chain: Chain) -> Iterator[SnapshotInfo]:
    agent: Agent | None = None
    base_id: str | None = None
    error: str | None = None
    for records, pointer in enumerate(chain.pointers, 1):
        try:
            snapshot = past.reader.read(pointer)
        except PROOF_ERRORS as problem:
            past.warnings.append(str(problem))
            return
        if error is None:
            try:
                agent = _take(past, agent, snapshot)
            except PROOF_ERRORS as problem:
                error = str(problem)
        yield _info(snapshot, pointer, None if error else agent, base_id, records, error)
        base_id = short_id(pointer)


def _take(past: Past, agent: Agent | None, snapshot: Snapshot) -> Agent:
    if agent is None:
        return start_agent(snapshot, past.resolve)
    extend_agent(agent, snapshot)
    return agent


def short_id(pointer: Pointer) -> str:
    """How a snapshot is named among those of its agent."""
    return f"{pointer.from_version}-{pointer.to_version}"


def _info(
    snapshot: Snapshot,
    pointer: Pointer,
    agent: Agent | None,
    base_id: str | None,
    records: int,
    error: str | None,
) -> SnapshotInfo:
    document = agent.document if agent is not None else {"status": None, "step": None}
    changes = _changes(snapshot) if snapshot.kind == INCREMENTAL and error is None else None
    return SnapshotInfo(
        snapshot_id=short_id(pointer),
        agent_id=snapshot.agent_id,
        session_id=snapshot.session_id,
        kind=snapshot.kind.lower(),
        base_id=base_id,
        version=snapshot.to_version,
        status=document["status"],
        step=document["step"],
        created_at=datetime.fromtimestamp(snapshot.created_at / 1000, UTC),
        size_bytes=len(snapshot.payload),
        records=records,
        changes=changes,
        error=error,
    )


def _changes(snapshot: Snapshot) -> Changes:
    ops = []
    for patch in split_patches(snapshot.payload):
        try:
            ops += decode_patch(patch)
        except PROOF_ERRORS:
            continue  # applies to nothing
    return describe(ops)
