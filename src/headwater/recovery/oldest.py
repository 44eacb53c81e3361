"""The oldest proved state of an agent from which events lead on."""

from __future__ import annotations

from headwater.errors import Unprovable
from headwater.log.fold import Agent
from headwater.log.snapshots import PROOF_ERRORS
from headwater.recovery.chains import Chain, SnapshotReader
from headwater.recovery.recover import Recovery
from headwater.recovery.replay import Start, start_within
from headwater.recovery.travel import past_of
from headwater.state.model import new_document


def oldest_start(recovery: Recovery, agent_id: str, first_offset: int) -> Start:
    """Where a replay can start that has events from ``first_offset`` on; reads every chain of
    snapshots from there.

    Raises :class:`Unprovable` where nothing leads to an event that is kept.
    """
    past = past_of(recovery, agent_id)
    entry, found = past.entry, None
    for chain in past.chains():
        start = _first_within(chain, past.reader, recovery, first_offset)
        if start is None:
            break
        found = start
    if found is not None:
        return found
    if entry is not None and not entry.snapshots:
        return Start(Agent(entry.head, new_document(), 0, recovery.resolve), past.position)
    why = "; ".join(past.warnings) or "no snapshot leads to an event that is kept"
    raise Unprovable(f"agent {agent_id!r}: {why}", past.warnings)


def _first_within(
    chain: Chain, reader: SnapshotReader, recovery: Recovery, first_offset: int
) -> Start | None:
    """The first snapshot of a chain behind which all events are kept."""
    try:
        start = start_within(map(reader.read, chain.pointers), recovery.resolve, first_offset)
    except PROOF_ERRORS:
        return None
    return start if start.offset >= first_offset else None
