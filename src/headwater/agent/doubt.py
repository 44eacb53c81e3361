"""Settles what is in doubt: claims the agent again, and sees what stands before that claim.

Why that is final, and reading alone is not: docs/decisions/0001.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.agent.claim import Claim, Claimant, Claimer
from headwater.agent.parts import Settled
from headwater.agent.pending import Pending
from headwater.log.chain import next_hash


def claim_again(claimer: Claimer, who: Claimant, epoch: int, tried: list[bytes]) -> Claim:
    """A claim at the epoch after ``epoch``, admitted unless somebody else claimed the agent.

    ``tried`` collects the digests of all attempts since the owner's last known claim: one whose
    acknowledgement was lost may have arrived after all, and then another epoch is due.
    """
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
