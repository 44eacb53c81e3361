"""Settles what is in doubt: claims the agent again, and sees what stands before that claim.

Why that is final, and reading alone is not: docs/decisions/0001.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.agent.claim import Claim, Claimant, Claimer
from headwater.agent.parts import Settled
from headwater.agent.pending import Pending
from headwater.errors import ChangesDropped, InDoubt
from headwater.kafka.errors import to_headwater
from headwater.log.chain import next_hash


def claim_again(claimer: Claimer, who: Claimant, epoch: int, tried: list[bytes]) -> Claim:
    """A claim at the epoch after ``epoch``, admitted unless somebody else claimed the agent.

    ``tried`` collects the digests of all attempts since the owner's last known claim: one whose
    acknowledgement was lost may have arrived after all, and then another epoch is due.
    """
    claimer.doubt_leaders()
    while True:
        claim = claimer.attempt(who, None, epoch + 1, tried)
        head = claim.recovered.head
        if head.nonce == claim.nonce or not (head.owned and claimer.is_leftover(head)):
            return claim
        epoch = head.epoch


def count_applied(left: Sequence[Pending], tried: Sequence[bytes], head_hash: bytes) -> int:
    """How many of ``left``, oldest first, stand in the log before the claim that made the head.

    The last of them is the record that the first admitted claim of ``tried`` extends.
    """
    counts = {pending.hash: count for count, pending in enumerate(left, 1)}
    for digest in tried:
        counts |= {next_hash(chain_hash, digest): n for chain_hash, n in counts.items()}
    return counts.get(head_hash, 0)


def settled(left: Sequence[Pending], applied: int) -> Settled:
    """What became of ``left``, of which the first ``applied`` are in the log."""
    for pending in left[applied:]:
        pending.dropped = True
    return Settled(
        applied=tuple(p.version for p in left[:applied] if p.checkpoint_id is None),
        dropped=tuple(p.version for p in left[applied:] if p.checkpoint_id is None),
        dropped_checkpoints=tuple(p.checkpoint_id for p in left[applied:] if p.checkpoint_id),
    )


def dropped_error(agent_id: str, version: int, lost: Settled) -> ChangesDropped:
    """What to tell of changes that are not in the log; the state is as of ``version``."""
    versions, what = lost.dropped, []
    if versions:
        what.append(f"{len(versions)} change(s), version {versions[0]} and on")
    if lost.dropped_checkpoints:
        what.append(f"checkpoint(s) {', '.join(lost.dropped_checkpoints)}")
    return ChangesDropped(
        f"agent {agent_id!r}: {' and '.join(what)}, are not in the log; its state is as "
        f"of version {version}: make them again",
        versions,
    )


def in_doubt_error(agent_id: str, doubt: Pending | None) -> InDoubt:
    """What to tell while nobody knows what became of the pending record ``doubt``."""
    cause = to_headwater(doubt.error, "it was not acknowledged") if doubt and doubt.error else ""
    return InDoubt(
        f"agent {agent_id!r}: a change was sent and may or may not be in the log; "
        f"call flush() to learn which count. {cause}".rstrip()
    )
