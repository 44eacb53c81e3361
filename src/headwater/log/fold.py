"""Admission and fold: the one way in which the log becomes state.

*Admission* looks at an agent's head alone and decides whether a record extends its chain:

- a claim is admitted iff its epoch is the head's + 1, whatever stands right before it, so that a
  busy former owner cannot starve it, and of two rivals the first in the log wins;
- anything else is admitted iff its ``prev`` is the head's hash and its epoch and nonce are the
  head's: the owner's, or no nonce while nobody owns the agent.

*Application* changes the state by an admitted record. It is total: a patch that does not apply
changes nothing, and is counted, the same for every reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import msgspec

from headwater.errors import ChangeRejected, UndecodableRecord
from headwater.log.chain import NO_RECORD, genesis_hash, next_hash
from headwater.log.origin import Resolve, read_origin, unresolved
from headwater.log.records import StateChange
from headwater.state.model import Document, new_document
from headwater.state.patch import apply_patch, decode_patch

CHECK_PREV = True
"""Only ever False in a test that shows what the check is for; see ``headwater.sabotage``."""


class Admission(Enum):
    """What a reader makes of a record."""

    ADMITTED = "admitted"
    REPEAT = "repeat"
    STALE = "stale"
    CONFLICT = "conflict"
    BARRIER = "barrier"


class Head(msgspec.Struct, frozen=True):
    """The end of an agent's chain: all that admission needs to know.

    ``epoch`` and ``nonce`` are the owner's; ``nonce`` is None while nobody owns the agent.
    ``node_id``, ``incarnation``, ``lease_ms``, ``session_id`` and ``updated_at`` (ms since 1970,
    by the writer's clock) are those of the last admitted record. ``hash`` is the chain's,
    ``record`` the digest of the record that made it.
    """

    agent_id: str
    epoch: int
    nonce: bytes | None
    node_id: str
    incarnation: bytes
    lease_ms: int
    session_id: str
    request_id: str | None
    sequence: int
    version: int
    hash: bytes
    record: bytes
    deleted: bool
    updated_at: int

    @property
    def owned(self) -> bool:
        """Whether some session owns the agent."""
        return self.nonce is not None

    @property
    def exists(self) -> bool:
        """Whether there is an agent: some record was admitted, and the last did not delete it."""
        return self.sequence > 0 and not self.deleted


def genesis(agent_id: str) -> Head:
    """The head before an agent's first record."""
    return Head(
        agent_id, 0, None, "", bytes(16), 0, "", None, 0, 0,
        genesis_hash(agent_id), NO_RECORD, False, 0,
    )  # fmt: skip


def admit(head: Head, change: StateChange) -> Admission:
    """Whether ``change`` extends ``head``; see the module's text for the rule."""
    kind = change.kind
    if kind == "BARRIER":
        return Admission.BARRIER
    if kind == "CLAIM":
        if change.epoch == head.epoch + 1:
            return Admission.ADMITTED
    elif (
        (change.prev == head.hash or not CHECK_PREV)
        and change.epoch == head.epoch
        and change.nonce == head.nonce
    ):
        return Admission.ADMITTED
    if change.digest == head.record:
        return Admission.REPEAT
    return Admission.STALE if _is_older(head, change) else Admission.CONFLICT


def _is_older(head: Head, change: StateChange) -> bool:
    if change.kind == "CLAIM":
        return change.epoch < head.epoch or change.nonce == head.nonce
    return change.epoch < head.epoch or change.sequence < head.sequence


def advance(head: Head, change: StateChange) -> Head:
    """The head once ``change``, which must have been admitted, extends it."""
    kind = change.kind
    keeps_owner = kind not in ("RELEASE", "DELETE")
    return Head(
        head.agent_id,
        change.epoch,
        change.nonce if keeps_owner else None,
        change.node_id,
        change.incarnation,
        change.lease_ms,
        change.session_id,
        change.request_id,
        head.sequence + 1,
        head.version + 1 if kind in VERSIONED else head.version,
        next_hash(head.hash, change.digest),
        change.digest,
        kind == "DELETE" or (head.deleted and kind not in _REVIVING),
        change.created_at,
    )


PATCHING = frozenset({"CHANGE", "RESTORE"})
VERSIONED = frozenset({"CHANGE", "RESTORE", "DELETE"})
_REVIVING = frozenset({"CLAIM", "CHANGE", "RESTORE"})


@dataclass(slots=True)
class Agent:
    """An agent as the log has it: its head, its state document, and how many admitted changes
    could not be applied. ``resolve`` finds the states that its log refers to.
    """

    head: Head
    document: Document
    inapplicable: int = 0
    resolve: Resolve = unresolved


def new_agent(agent_id: str, resolve: Resolve = unresolved) -> Agent:
    """An agent before its first record."""
    return Agent(genesis(agent_id), new_document(), 0, resolve)


def fold(agent: Agent, change: StateChange) -> Admission:
    """Take one record of the agent's log into ``agent``, which is changed in place.

    A record that is not admitted leaves it untouched. Depends on nothing else, so every reader
    that folds the same records has the same agent; but a state that a record refers to must be
    there to be read, or ``agent.resolve`` raises and ``agent`` is as before.
    """
    admission = admit(agent.head, change)
    if admission is Admission.ADMITTED:
        origin = read_origin(change.kind, change.patch)
        if origin is not None:
            agent.document, agent.inapplicable = agent.resolve(origin), 0
        elif change.kind == "DELETE":
            agent.document, agent.inapplicable = new_document(), 0
        elif change.patch and change.kind in PATCHING:
            apply_stored(agent, change.patch)
        agent.head = advance(agent.head, change)
    return admission


def apply_stored(agent: Agent, patch: bytes) -> None:
    """Apply the bytes of an admitted patch; one that does not apply is counted and skipped."""
    try:
        apply_patch(agent.document, decode_patch(patch))
    except (ChangeRejected, UndecodableRecord):
        agent.inapplicable += 1
