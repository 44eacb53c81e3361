"""Reads heads without states: enough to own an agent whose state nothing proves."""

from __future__ import annotations

from headwater.log.fold import Agent, genesis
from headwater.log.origin import Origin
from headwater.log.snapshots import IndexEntry
from headwater.recovery.recover import Reads, Recovery
from headwater.state.model import Document, new_document


class HeadsOnly(Recovery):
    """Gives every agent its true head and no state: the empty document stands in for it."""

    def _from_snapshots(
        self, reads: Reads, partition: int, agent_id: str, entry: IndexEntry | None
    ) -> Agent:
        head = genesis(agent_id) if entry is None else entry.head
        return Agent(head, new_document(), 0, _no_state)


def _no_state(origin: Origin) -> Document:
    return new_document()
