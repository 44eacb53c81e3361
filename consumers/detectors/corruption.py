"""STATE_CORRUPTION: what is wrong with a snapshot as it is stored, or with how a status changed.

Pure: bytes in, complaints out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from headwater.errors import InvalidState, UndecodableRecord
from headwater.fleet.records import FailureType
from headwater.log.sealing import decode_snapshot
from headwater.log.snapshots import FULL, INCREMENTAL, check_payload, split_patches
from headwater.state.model import new_document, state_hash, validate
from headwater.state.patch import decode_patch
from headwater.state.values import decode

from .finding import Finding
from .timeouts import component_of

Transitions = Mapping[str, Sequence[str]]


def complaint(value: bytes, chunk_at: Callable[[int], bytes | None]) -> str:
    """What is wrong with a snapshots record: with its bytes, its checksum, its structure, or the
    hash of the state that it holds. Empty where nothing is.

    ``chunk_at`` gives the pieces of one that is stored in several records.
    """
    try:
        snapshot = decode_snapshot(value, chunk_at)
        check_payload(snapshot)
        if snapshot.kind == FULL:
            document = decode(snapshot.payload)
            if document != new_document():  # as an agent is that has been claimed, and no more
                validate(document, snapshot.agent_id)
            if state_hash(snapshot.agent_id, document) != snapshot.state_hash:
                return f"snapshot {snapshot.snapshot_id!r}: its state has another hash"
        elif snapshot.kind == INCREMENTAL:
            for patch in split_patches(snapshot.payload):
                decode_patch(patch)
    except (InvalidState, UndecodableRecord) as error:
        return str(error)
    return ""


def agent_of(key: bytes) -> str:
    """The agent of a snapshots record, by its key."""
    return key.partition(b"\0")[0].decode(errors="replace")


def is_declared(transitions: Transitions, before: str, after: str) -> bool:
    """Whether a status may follow another one.

    Where nothing is declared anything may. A status that is only named as a follower is a last
    one; one that is not named at all, such as that of a new agent, may be left for any.
    """
    if not transitions or before == after:
        return True
    if before in transitions:
        return after in transitions[before]
    return not any(before in after_it for after_it in transitions.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A status that was followed by another one, in the version that did it."""

    version: int
    before: str
    after: str


def undeclared(
    changes: Sequence[Change], transitions: Transitions, restored_at: int
) -> Iterator[Change]:
    """The changes of status that were not declared, those of before the last restore left out."""
    for change in changes:
        if change.version > restored_at and not is_declared(
            transitions, change.before, change.after
        ):
            yield change


def damaged(agent_id: str, mark: tuple[str, ...], why: str, at_ms: int, kind: str = "") -> Finding:
    """The finding for an agent whose state is not to be proved."""
    return Finding(
        type=FailureType.STATE_CORRUPTION,
        component=component_of(agent_id),
        subject="snapshots",
        mark=mark,
        description=f"the state of agent {agent_id} is corrupt: {why}",
        first_symptom_at=at_ms,
        context={"agent_id": agent_id, "kind": kind, "check": "snapshots", "problem": why},
    )


def strayed(agent_id: str, change: Change, at_ms: int, kind: str) -> Finding:
    """The finding for an agent that took a way that its kind does not declare."""
    way = f"from {change.before!r} to {change.after!r}"
    return Finding(
        type=FailureType.STATE_CORRUPTION,
        component=component_of(agent_id),
        subject="transitions",
        mark=(str(change.version), change.before, change.after),
        description=f"agent {agent_id} went {way} at version {change.version}, "
        f"which {kind} does not declare",
        first_symptom_at=at_ms,
        context={
            "agent_id": agent_id,
            "kind": kind,
            "check": "transitions",
            "problem": f"{way} is not declared",
            "version": change.version,
        },
    )
