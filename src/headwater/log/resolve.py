"""Finds the states that origins refer to."""

from __future__ import annotations

from collections.abc import Callable

from headwater.errors import InvalidState
from headwater.log.fold import Agent, apply_stored, new_agent
from headwater.log.origin import ALL, Origin, Resolve
from headwater.log.sealing import decode_snapshot
from headwater.log.snapshots import (
    INCREMENTAL,
    Pointer,
    Snapshot,
    check_pointer,
    extend_agent,
    extend_partly,
    start_agent,
)
from headwater.state.model import Document, state_hash

Fetch = Callable[[int, int], bytes | None]
"""Gives the value at a partition and an offset of snapshots; None where there is none."""

_DEEPEST = 64


def resolver(fetch: Fetch, depth: int = 0) -> Resolve:
    """A resolver that reads snapshots with ``fetch``.

    What it gives is proved: by the chain of the snapshots, and by the hash of the state that the
    origin names. Raises one of :data:`~.snapshots.PROOF_ERRORS` otherwise.
    """

    def resolve(origin: Origin) -> Document:
        if depth > _DEEPEST:
            raise InvalidState(f"a state refers to another one {depth} times over", "origin")
        agent = _based(origin, fetch, resolver(fetch, depth + 1))
        for patch in origin.patches:
            apply_stored(agent, patch)
        if state_hash(origin.agent, agent.document) != origin.state_hash:
            raise InvalidState(
                f"what is to be agent {origin.agent!r} at version {origin.version} is another "
                "state: its hash differs", "state_hash",
            )  # fmt: skip
        return agent.document

    return resolve


def _based(origin: Origin, fetch: Fetch, resolve: Resolve) -> Agent:
    agent: Agent | None = None
    for base in origin.base:
        pointer = Pointer(base.offset, base.from_version, base.to_version, 0)
        snapshot = read_snapshot(fetch, base.partition, base.agent_id, pointer)
        if agent is None:
            if snapshot.kind == INCREMENTAL:
                raise InvalidState(f"{snapshot.snapshot_id!r} begins no chain", "chain")
            agent = start_agent(snapshot, resolve)
        elif base.take == ALL:
            extend_agent(agent, snapshot)
        else:
            extend_partly(agent, snapshot, snapshot.from_version + base.take)
    return agent or new_agent(origin.agent)


def read_snapshot(fetch: Fetch, partition: int, agent_id: str, pointer: Pointer) -> Snapshot:
    """The snapshot that ``pointer`` means; :class:`InvalidState` where it is not there."""
    value = fetch(partition, pointer.offset)
    if value is None:
        raise InvalidState(f"no snapshot at offset {pointer.offset}", "pointer")
    snapshot = decode_snapshot(value, lambda offset: fetch(partition, offset))
    check_pointer(snapshot, agent_id, pointer)
    return snapshot
