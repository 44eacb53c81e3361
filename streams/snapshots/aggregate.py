"""What a commit was about, in a few numbers: the compactor's contribution to the metrics."""

from __future__ import annotations

from headwater.state.patch import SET
from headwater.wire import codec

from .tracked import Batch

_SETS_STATUS = b"\x93" + bytes([SET]) + b"\x91\xa6status"
"""How an operation that puts a value under "status" begins in MessagePack. It is looked for in the
bytes: 0.3 us a KB, a tenth of what decoding the patch would take.
"""


def encode_aggregate(
    partition: int,
    batch: Batch,
    *,
    written_bytes: int,
    took_ms: float,
    committed_at: int,
    node_id: str,
) -> bytes:
    """The record of a commit; see ``schemas/CompactorCommit.avsc``."""
    return codec("CompactorCommit").encode(
        {
            "partition": partition,
            "start": batch.start,
            "next_offset": batch.position.next_offset,
            "events": batch.events,
            "refused": batch.refused,
            "dead_letters": len(batch.dead_letters),
            "agents": len(batch.agents),
            "status_changes": _status_changes(batch),
            "event_bytes": batch.size_bytes,
            "written_bytes": written_bytes,
            "took_ms": took_ms,
            "committed_at": committed_at,
            "node_id": node_id,
        }
    )


def _status_changes(batch: Batch) -> int:
    return sum(
        patch.count(_SETS_STATUS)
        for agent in batch.agents
        for segment in agent.segments
        for patch in segment.patches
    )
