"""What is written for one agent: a full snapshot, an increment, or increments merged into one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headwater.errors import HeadwaterError, InvalidState, RetryableError
from headwater.log.fold import Agent, Head, apply_stored
from headwater.log.snapshots import (
    PROOF_ERRORS,
    Pointer,
    Snapshot,
    check_payload,
    full_snapshot,
    increment,
    merge_payloads,
    origin_snapshot,
    pack_patches,
)
from headwater.state.model import new_document, validate

from .proof import ChainReader
from .strategy import FULL, INCREMENT, RECORD_BYTES, Decision, Strategy, newest
from .tracked import Batch, Chain, Dirty, Segment

log = logging.getLogger("headwater.compactor")

LONGEST_CHAIN = 16
_MOST_SKIPS = 256
_ENDING_BYTES, _ENDING_SHARE = 4096, 0.5
"""The last increment of a chain that is replaced may have so many bytes, or so much of the new
state's.
"""
_NIL = b"\xc0"
# Patches nested deeper than this apply to no state, whose depth is limited to less, and might be
# beyond the recursion limit of a reader that has to split the payload.
_DEEP = b"\x91" * 256

_one_value = msgspec.msgpack.Decoder(msgspec.Raw).decode


@dataclass(slots=True, kw_only=True)
class Plan:
    """What to write for one agent, and its chain after that.

    ``new`` are snapshots to write, to be listed behind ``kept``. Where they begin a new chain,
    ``previous`` and then ``ending``, to be written too, are the one that it replaces; or
    ``ending`` is a chain of its own, which replaces ``previous``. ``dropped`` are those that the
    index lists no more, ``base`` as in :class:`~.tracked.Chain`.
    """

    dirty: Dirty
    kept: tuple[Pointer, ...]
    dropped: tuple[Pointer, ...] = ()
    new: list[Snapshot] = field(default_factory=list)
    previous: tuple[Pointer, ...] = ()
    ending: list[Snapshot] = field(default_factory=list)
    base: Head | None = None
    merged: int = 0
    rebuilt: bool = False
    full_failed: bool = False

    @property
    def version(self) -> int:
        """The version that the chain leads to."""
        if self.new:
            return self.new[-1].to_version
        return self.base.version if self.base is not None else self.dirty.chain.version

    @property
    def hash(self) -> bytes:
        """The chain hash that the chain leads to."""
        if self.new:
            return self.new[-1].to_hash
        return self.base.hash if self.base is not None else self.dirty.chain.hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is known before anything is read: the new segments and their payloads, what to make of
    them, and the ``chain`` that they extend, of which ``since`` is where the events go on.
    """

    dirty: Dirty
    chain: Chain
    since: int
    dropped: tuple[Pointer, ...]
    segments: list[Segment]
    payloads: list[bytes]
    decision: Decision

    @property
    def needs(self) -> tuple[Pointer, ...]:
        """The snapshots that will be read back."""
        if self.decision.full:
            return self.chain.pointers
        return self.chain.pointers[-self.decision.merge :] if self.decision.merge else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes of payload that a full snapshot, and an increment, may have."""

    full_bytes: int
    increment_bytes: int


class Planner:
    """Plans one batch of one partition. ``now_ms``: milliseconds since 1970, for the records."""

    def __init__(
        self,
        batch: Batch,
        reader: ChainReader,
        strategy: Strategy,
        limits: Limits,
        *,
        node_id: str,
        now_ms: int,
    ) -> None:
        self._batch = batch
        self._reader = reader
        self._strategy = strategy
        self._limits = limits
        self._stamp: dict[str, Any] = {"node_id": node_id, "created_at": now_ms}

    def draft(self, dirty: Dirty) -> Draft:
        """What to write for one agent, as far as that can be told without reading anything."""
        chain, since = dirty.chain, self._batch.start
        dropped: tuple[Pointer, ...] = ()
        if dirty.reset is not None:
            # Deleted, or replaced: what was before is gone, and the state began anew.
            head, since = dirty.reset.head, dirty.reset.events_offset
            origin, dropped = dirty.reset.origin, chain.pointers
            chain = Chain((), head.version, head.hash, head, origin)
        segments = _with_changes(dirty.segments, chain.version)
        payloads = [payload_of(s.patches) for s in segments]
        decision = self._decide(chain, segments, payloads) if segments else INCREMENT
        return Draft(
            dirty=dirty,
            chain=chain,
            since=since,
            dropped=dropped,
            segments=segments,
            payloads=payloads,
            decision=decision,
        )

    def finish(self, draft: Draft) -> Plan:
        """What to write for one agent."""
        dirty, chain, decision = draft.dirty, draft.chain, draft.decision
        if not draft.segments and chain.origin is None:
            base = dirty.head if not chain.pointers else None
            return Plan(dirty=dirty, kept=chain.pointers, dropped=draft.dropped, base=base)
        failed = False
        if decision.full:
            plan = self._full(draft)
            if plan is not None:
                return plan
            failed = True
            decision = _without_full(chain, len(draft.payloads[0]))
        plan = self._increments(draft, self._within_limit(chain, decision.merge, draft.payloads))
        plan.dropped += draft.dropped
        plan.full_failed = failed
        return plan

    def _decide(
        self, chain: Chain, segments: Sequence[Segment], payloads: Sequence[bytes]
    ) -> Decision:
        if chain.origin is not None:
            return INCREMENT  # a fork stores only what it changes
        if chain.skip_fulls > 0:
            chain.skip_fulls -= 1
            return _without_full(chain, len(payloads[0]))
        if not chain.pointers:
            return FULL
        size = sum(map(len, payloads))
        changes = sum(len(s.patches) for s in segments)
        return self._strategy.decide(chain.pointers, size, changes)

    def _full(self, draft: Draft) -> Plan | None:
        dirty, chain = draft.dirty, draft.chain
        try:
            agent, rebuilt = self._agent(draft)
            validate(agent.document, agent.head.agent_id)
            until = draft.segments[-1].events_offset
            snapshot = full_snapshot(agent, events_offset=until, **self._stamp)
        except RetryableError:
            raise
        except HeadwaterError as error:
            self._cannot(dirty, str(error))
            return None
        if len(snapshot.payload) > self._limits.full_bytes:
            self._cannot(dirty, f"its {len(snapshot.payload):,} bytes are too many")
            return None
        dirty.chain.full_failures = 0
        # Versions between the last chain and this one are kept as its end; or, at the beginning
        # of an agent's life, as a chain from the empty state. Not where that is much beside the
        # state itself: then they are had from their events, which retention keeps for a day, and
        # longer where a checkpoint needs them.
        first = draft.segments[0].head.version > chain.version + 1 or len(draft.segments) > 1
        bound = max(_ENDING_BYTES, _ENDING_SHARE * len(snapshot.payload))
        costly = sum(map(len, draft.payloads)) > bound
        ending = [] if costly or not (chain.pointers or first) else self._increments(draft, 0).new
        return Plan(
            dirty=dirty,
            kept=(),
            dropped=(*draft.dropped, *chain.pointers),
            new=[snapshot],
            previous=draft.dropped or chain.pointers,
            ending=ending,
            rebuilt=rebuilt,
        )

    def _agent(self, draft: Draft) -> tuple[Agent, bool]:
        """The agent at the end of the batch, and whether it had to be folded from the events."""
        dirty, chain, target = draft.dirty, draft.chain, draft.segments[-1]
        try:
            agent = self._reader.prove(dirty.head.agent_id, chain)
        except PROOF_ERRORS as error:
            log.error("agent %r: %s; folding its events instead", dirty.head.agent_id, error)
            return self._reader.rebuild(dirty.key, chain, target), True
        for segment in draft.segments:
            for patch in segment.patches:
                if patch:
                    apply_stored(agent, patch)
        agent.head = target.head
        return agent, False

    def _cannot(self, dirty: Dirty, reason: str) -> None:
        chain = dirty.chain
        chain.full_failures += 1
        chain.skip_fulls = min(2**chain.full_failures, _MOST_SKIPS)
        log.error(
            "no full snapshot of agent %r at version %d: %s; it goes on with increments",
            dirty.head.agent_id, dirty.head.version, reason,
        )  # fmt: skip

    def _within_limit(self, chain: Chain, merge: int, payloads: Sequence[bytes]) -> int:
        """``merge``, or as many fewer as keep the merged increment under the limit."""
        if len(payloads) > 1:
            return 0
        room = self._limits.increment_bytes - sum(map(len, payloads))
        fitting = 0
        for pointer in reversed(chain.pointers[-merge:] if merge else ()):
            room -= pointer.size
            if room < 0:
                break
            fitting += 1
        return fitting

    def _increments(self, draft: Draft, merge: int) -> Plan:
        dirty, chain, payloads = draft.dirty, draft.chain, list(draft.payloads)
        plan = Plan(dirty=dirty, kept=chain.pointers)
        version, start = chain.version, chain.hash
        if chain.base is not None:
            plan.new.append(self._beginning(chain.base, chain, draft.since))
            plan.previous = draft.dropped
        older = self._older(dirty, chain, merge)
        if older:
            version, start = older[0].from_version, older[0].from_hash
            payloads[0] = merge_payloads([s.payload for s in older] + payloads[:1])[1]
            plan.kept, plan.dropped = chain.pointers[:-merge], chain.pointers[-merge:]
            plan.merged = merge
        for segment, payload in zip(draft.segments, payloads, strict=True):
            snapshot = increment(
                segment.head,
                from_version=version,
                from_hash=start,
                change_count=int.from_bytes(payload[1:5], "big"),
                payload=payload,
                events_offset=segment.events_offset,
                **self._stamp,
            )
            plan.new.append(snapshot)
            version, start = snapshot.to_version, snapshot.to_hash
        return plan

    def _beginning(self, base: Head, chain: Chain, since: int) -> Snapshot:
        """What a chain starts with where it is not a full snapshot of what is: the state that is
        referred to, or else the empty one.
        """
        if chain.origin is not None:
            return origin_snapshot(base, chain.origin, events_offset=since, **self._stamp)
        return full_snapshot(Agent(base, new_document()), events_offset=since, **self._stamp)

    def _older(self, dirty: Dirty, chain: Chain, merge: int) -> list[Snapshot]:
        """The last ``merge`` increments of the chain; none where they do not prove right."""
        if not merge:
            return []
        pointers = chain.pointers[-merge:]
        try:
            older = [self._reader.read(dirty.head.agent_id, pointer) for pointer in pointers]
            for snapshot, following in zip(older, [*older[1:], None], strict=True):
                check_payload(snapshot)
                reached = following.from_hash if following is not None else chain.hash
                if snapshot.to_hash != reached:
                    raise InvalidState(f"{snapshot.snapshot_id!r} leads elsewhere", "chain")
        except PROOF_ERRORS as error:
            log.error("agent %r: not merged: %s", dirty.head.agent_id, error)
            return []
        return older


def payload_of(patches: Sequence[bytes]) -> bytes:
    """The payload of an increment that does what ``patches`` do.

    Bytes that are not exactly one MessagePack value would shift all that follow in the array. They
    are no patch, and apply to nothing: so is nil, which stands in for them. Empty ones were never
    applied.
    """
    patches = [patch for patch in patches if patch]
    try:
        for patch in patches:
            _one_value(patch)
        payload = pack_patches(patches)
        _one_value(_DEEP + payload)
    except (msgspec.DecodeError, RecursionError):
        return pack_patches([patch if _is_sound(patch) else _NIL for patch in patches])
    return payload


def _is_sound(patch: bytes) -> bool:
    try:
        _one_value(patch)
        _one_value(_DEEP + b"\x91" + patch)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _with_changes(segments: Sequence[Segment], version: int) -> list[Segment]:
    """The segments that lead to a version of their own."""
    found = []
    for segment in segments:
        if segment.head.version != version:
            found.append(segment)
            version = segment.head.version
    return found


def _without_full(chain: Chain, new_bytes: int) -> Decision:
    if len(chain.pointers) < LONGEST_CHAIN:
        return INCREMENT
    sizes = [p.size + RECORD_BYTES for p in chain.pointers[1:]]
    return Decision(merge=newest(sizes, new_bytes + RECORD_BYTES))
