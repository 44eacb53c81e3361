"""Snapshots that a connection has read, kept for whoever asks for them again: one who steps through
an agent's past reads the same ones for each version.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from headwater.log.snapshots import Snapshot

# What a snapshot takes besides its payload.
_AROUND_BYTES = 1000

Place = tuple[int, int]
"""Partition and offset: what is there never changes."""


class Remembered:
    """The snapshots that were asked for last, up to ``limit_bytes``. For use by several threads.

    They are as they were read: whoever uses one proves it, as if it had just come.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._kept: OrderedDict[Place, Snapshot] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, place: Place) -> Snapshot | None:
        """The snapshot at a place, if it is remembered."""
        with self._lock:
            found = self._kept.get(place)
            if found is not None:
                self._kept.move_to_end(place)
            return found

    def put(self, place: Place, snapshot: Snapshot) -> None:
        """Remember a snapshot, and forget those that were not asked for the longest."""
        size = _size_of(snapshot)
        with self._lock:
            if size > self._limit or place in self._kept:
                return
            self._kept[place] = snapshot
            self._size += size
            while self._size > self._limit:
                _, gone = self._kept.popitem(last=False)
                self._size -= _size_of(gone)


def _size_of(snapshot: Snapshot) -> int:
    return len(snapshot.payload) + _AROUND_BYTES
