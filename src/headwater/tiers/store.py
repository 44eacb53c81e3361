"""What an implementation of a tier has to do; everything that all have in common is the tier's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key of a tier. ``size_bytes`` is the value's own size; ``saved_at_ms`` is the time of its
    last save in ms since 1970, None where the storage does not tell.
    """

    key: str
    size_bytes: int
    saved_at_ms: int | None = None


class Store(Protocol):
    """Sealed values by checked key; may be used by several threads.

    It raises Headwater's errors alone: whatever its library raises is mapped inside of it.
    """

    name: str
    """The store as messages name it, without secrets."""

    def put(self, key: str, sealed: bytes) -> None:
        """Store a value, durably and as a whole: whoever reads, and whatever is left when this
        process dies, is the old value or the new one.
        """

    def get(self, key: str) -> bytes | None:
        """The value; None where there is none."""

    def remove(self, key: str) -> None:
        """Remove the value, if there is one."""

    def scan(self, prefix: str) -> Iterator[Entry]:
        """The keys that begin with ``prefix``, sorted, with the sizes of the sealed values."""

    def sweep(self, older_than: timedelta) -> int:
        """Remove what saves that never ended have left behind; how many bytes."""

    def close(self) -> None:
        """Give up connections and memory."""
