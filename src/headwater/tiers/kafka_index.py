"""Which manifest each key has, as the manifests' one partition tells."""

from __future__ import annotations

import threading
import time

from headwater.config import Config
from headwater.errors import Unavailable, Unprovable
from headwater.kafka import clients
from headwater.kafka.reader import Follower, Reader

# Tombstones are compacted away after a day: whoever has slept for long reads everything again.
_REREAD_S = 6 * 3600.0
# A manifest that was replaced is remembered until its writer has asked for it.
_REMEMBERED = 10_000


class ManifestIndex:
    """Raw manifests by key, brought up to date by every question. Safe for several threads."""

    def __init__(self, config: Config, topic: str) -> None:
        self._config = config
        self._topic = topic
        self._lock = threading.Lock()
        self._asking = Reader(config, clients.POINT_READS)
        self._follower: Follower | None = None
        self._read_at = 0.0
        self._manifests: dict[str, tuple[bytes, int]] = {}
        self._replaced: dict[int, bytes] = {}

    def get(self, key: str) -> bytes | None:
        """The newest manifest of a key."""
        with self._lock:
            self._refresh()
            found = self._manifests.get(key)
        return found[0] if found else None

    def all(self) -> dict[str, tuple[bytes, int]]:
        """All of them, each with its time in ms."""
        with self._lock:
            self._refresh()
            return self._manifests.copy()

    def replaced_by(self, offset: int) -> bytes | None:
        """The manifest that the one at ``offset`` took the place of; can be asked once."""
        with self._lock:
            self._refresh(offset + 1)
            return self._replaced.pop(offset, None)

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._asking.close()
            if self._follower is not None:
                self._follower.close()

    def _refresh(self, at_least: int = 0) -> None:
        """Take in every manifest that is in the log at this moment."""
        first, end = self._asking.range(self._topic, 0)
        now = time.time()
        follower = self._follower
        if follower is None or end < follower.next_offset or now - self._read_at > _REREAD_S:
            follower = self._start_over(first)
        try:
            messages = follower.read_through(max(end, at_least) - 1)
        except Unprovable as error:
            self._read_at = 0.0
            raise Unavailable(f"{error}; it was cut or made anew: try again") from error
        for message in messages:
            key = (message.key() or b"").decode()
            before = self._manifests.pop(key, None)
            value = message.value()
            if value is not None:
                self._manifests[key] = (value, message.timestamp()[1])
            if before is not None:
                self._remember(message.offset() or 0, before[0])
        self._read_at = now

    def _start_over(self, first: int) -> Follower:
        if self._follower is not None:
            self._follower.close()
        self._manifests.clear()
        self._follower = Follower(self._config, self._topic, 0, first)
        return self._follower

    def _remember(self, offset: int, manifest: bytes) -> None:
        self._replaced[offset] = manifest
        while len(self._replaced) > _REMEMBERED:
            del self._replaced[next(iter(self._replaced))]
