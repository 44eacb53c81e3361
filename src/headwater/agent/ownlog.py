"""Follows one agent's records in its partition, as every other reader sees them."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.config import Config
from headwater.errors import UndecodableRecord
from headwater.kafka.reader import Follower
from headwater.log.fold import Admission, Head, admit, advance
from headwater.log.records import StateChange, parse


class OwnLog:
    """An agent's head, kept current by reading its partition onwards from ``start``."""

    def __init__(self, config: Config, partition: int, head: Head, start: int) -> None:
        self._follower = Follower(config, config.topic("events"), partition, start)
        self._key = head.agent_id.encode()
        self.head = head

    def changes_through(self, offset: int) -> Iterator[StateChange]:
        """The agent's records up to ``offset``, whether admitted or not; waits for them."""
        for message in self._follower.read_through(offset):
            if message.key() == self._key:
                try:
                    yield parse(self._key, message.value())
                except UndecodableRecord:
                    continue  # the compactor sets it aside

    def read_through(self, offset: int) -> Head:
        """The head as of the record at ``offset``."""
        for change in self.changes_through(offset):
            if admit(self.head, change) is Admission.ADMITTED:
                self.head = advance(self.head, change)
        return self.head

    def close(self) -> None:
        """Stop following."""
        self._follower.close()
