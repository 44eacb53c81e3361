"""Snapshots that this process wrote not long ago, so that most chains need not be read back."""

from __future__ import annotations

import threading
from collections import OrderedDict

from headwater.log.snapshots import Snapshot

_OVERHEAD_BYTES = 1000


class SnapshotCache:
    """The most recently used snapshots by partition and offset, within ``limit_bytes``.

    Offsets are never reused, so nothing here can be out of date. Safe for use by threads.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._held: OrderedDict[tuple[int, int], Snapshot] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, partition: int, offset: int) -> Snapshot | None:
        """The snapshot, if it is held."""
        with self._lock:
            snapshot = self._held.get((partition, offset))
            if snapshot is not None:
                self._held.move_to_end((partition, offset))
            return snapshot

    def put(self, partition: int, offset: int, snapshot: Snapshot) -> None:
        """Hold a committed snapshot, in place of those unused for longest."""
        with self._lock:
            self._forget((partition, offset))
            self._held[(partition, offset)] = snapshot
            self._size_bytes += _size(snapshot)
            while self._size_bytes > self._limit_bytes:
                self._forget(next(iter(self._held)))

    def forget(self, partition: int, offset: int) -> None:
        """Let go of a snapshot that nothing lists any more."""
        with self._lock:
            self._forget((partition, offset))

    def _forget(self, place: tuple[int, int]) -> None:
        snapshot = self._held.pop(place, None)
        if snapshot is not None:
            self._size_bytes -= _size(snapshot)


def _size(snapshot: Snapshot) -> int:
    return len(snapshot.payload) + _OVERHEAD_BYTES
