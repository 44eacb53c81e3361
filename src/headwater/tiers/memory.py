"""Values in this process's memory, gone with it: for tests, and as a cache."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

from headwater.clock import wall_ms
from headwater.tiers.store import Entry

Values = dict[str, tuple[bytes, int]]

_named: dict[str, Values] = {}
_lock = threading.Lock()


class MemoryStore:
    """A dictionary, shared in the process by all stores of one name; without a name, its own."""

    def __init__(self, name: str = "") -> None:
        self.name = f"memory:{name}"
        with _lock:
            self._values: Values = _named.setdefault(name, {}) if name else {}

    def put(self, key: str, sealed: bytes) -> None:
        """One assignment."""
        self._values[key] = (sealed, wall_ms())

    def get(self, key: str) -> bytes | None:
        """The value itself: bytes cannot be changed."""
        found = self._values.get(key)
        return found[0] if found else None

    def remove(self, key: str) -> None:
        """Forget it."""
        self._values.pop(key, None)

    def scan(self, prefix: str) -> Iterator[Entry]:
        """The keys as they are now."""
        for key, (sealed, saved_at_ms) in sorted(self._values.copy().items()):
            if key.startswith(prefix):
                yield Entry(key=key, size_bytes=len(sealed), saved_at_ms=saved_at_ms)

    def sweep(self, older_than: timedelta) -> int:
        """Nothing is ever left behind."""
        return 0

    def close(self) -> None:
        """The values stay for whoever opens the name again."""
