"""Keeps the newest full snapshot of each agent on a tier, under the agent's own key."""

from __future__ import annotations

import logging

from headwater.backup.format import Kept
from headwater.backup.source import encode_replica, replica_key
from headwater.errors import TooLarge
from headwater.log.checkpoints import is_held_key
from headwater.log.sealing import decode_snapshot, is_chunk_key
from headwater.log.snapshots import FULL, PROOF_ERRORS, Snapshot
from headwater.tiers import Tier

from .source import Source

log = logging.getLogger("headwater.backup")


class Replica:
    """Collects full snapshots, and saves the newest of each agent."""

    def __init__(self, tier: Tier, source: Source) -> None:
        self._tier = tier
        self._source = source
        self._pending: dict[str, Snapshot] = {}

    def take(self, partition: int, kept: Kept) -> None:
        """A record of snapshots."""
        if kept.value is None or is_chunk_key(kept.key) or is_held_key(kept.key):
            return
        try:
            snapshot = decode_snapshot(
                kept.value, lambda offset: self._source.fetch(partition, offset)
            )
        except PROOF_ERRORS as error:
            log.warning("no replica of %r: %s", kept.key, error)
            return
        if snapshot.kind == FULL:
            self._pending[snapshot.agent_id] = snapshot

    def save(self) -> int:
        """Save what was collected; how many snapshots."""
        pending, self._pending = self._pending, {}
        for agent_id, snapshot in pending.items():
            try:
                self._tier.save(replica_key(agent_id), encode_replica(snapshot))
            except TooLarge as error:
                log.warning("no replica of agent %r: %s", agent_id, error)
        return len(pending)
