"""What became of records that were in doubt, once the log has told."""

from __future__ import annotations

from headwater.agent.doubt import count_applied, settled
from headwater.agent.parts import Settled
from headwater.agent.pending import Pending
from headwater.log.chain import next_hash


def pending(number: int, version: int, checkpoint_id: str | None = None) -> Pending:
    """A record that was sent, and of which nothing is known."""
    made = Pending(None, bytes([number]) * 32, version)  # type: ignore[arg-type]
    made.checkpoint_id = checkpoint_id
    return made


def test_a_checkpoint_is_told_from_the_change_whose_version_it_marks() -> None:
    """Both have the same version; each is applied or dropped by itself."""
    left = [pending(1, 5), pending(2, 5, "manual-5"), pending(3, 6), pending(4, 6, "manual-6")]
    assert settled(left, 4) == Settled(applied=(5, 6))
    assert not any(each.dropped for each in left)
    assert settled(left, 1) == Settled(
        applied=(5,), dropped=(6,), dropped_checkpoints=("manual-5", "manual-6")
    )
    assert [each.dropped for each in left] == [False, True, True, True]


def test_a_claim_behind_a_checkpoint_shows_that_it_is_in_the_log() -> None:
    """The claim's place tells how many came before it, checkpoints counted."""
    left = [pending(1, 5), pending(2, 5, "manual-5"), pending(3, 6)]
    claim = b"c" * 32
    assert count_applied(left, [claim], next_hash(left[1].hash, claim)) == 2
