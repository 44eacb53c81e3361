"""A tier: the interface, and all that its implementations have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Self

from headwater.errors import KeyNotFound, SessionClosed, UnsupportedValue
from headwater.tiers.envelope import OVERHEAD_BYTES, seal, unseal
from headwater.tiers.keys import check_key, storable
from headwater.tiers.store import Entry, Store

#: No save takes that long: what it left behind is nobody's.
_INTERRUPTED = timedelta(hours=1)


class Tier:
    """Bytes by key. Safe for use by several threads, and by several processes at once.

    Keys are texts of up to 512 bytes in UTF-8, ``/`` between their segments; values have up to
    64 MiB. Every call raises :class:`SessionClosed` after ``close()``, :class:`Unavailable` where
    trying again can help, :class:`ConfigError` where address, credentials or rights are wrong, and
    :class:`UnsupportedValue` for a key that cannot be one.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._closed = False

    def save(self, key: str, value: bytes) -> None:
        """Store a value, over the one before; durable on return.

        Whatever happens meanwhile, the key has its old value or the new one. After
        :class:`Unavailable` it may be either. Raises :class:`TooLarge` over 64 MiB.
        """
        if not isinstance(value, bytes):
            raise UnsupportedValue(f"a tier stores bytes, not {type(value).__name__}")
        self._open(key).put(key, seal(key, value))

    def load(self, key: str) -> bytes:
        """The value that was saved last.

        Raises :class:`KeyNotFound`, and :class:`CorruptData` if what is stored is not what was
        saved.
        """
        sealed = self._open(key).get(key)
        if sealed is None:
            raise KeyNotFound(f"{self._store.name} holds nothing under {key!r}")
        return unseal(key, sealed)

    def delete(self, key: str) -> None:
        """Remove a value; nothing happens where there is none."""
        self._open(key).remove(key)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """The keys that begin with ``prefix``, in the order of their UTF-8 bytes.

        Keys saved or deleted meanwhile may be in it or not. Values are not looked at.
        """
        self._open()
        if not storable(prefix):
            return
        for entry in self._store.scan(prefix):
            yield replace(entry, size_bytes=max(0, entry.size_bytes - OVERHEAD_BYTES))

    def sweep(self, older_than: timedelta = _INTERRUPTED) -> int:
        """Remove what saves of processes that died have left behind; how many bytes.

        It is never visible otherwise. ``older_than`` is longer than any save can take.
        """
        return self._open().sweep(older_than)

    def close(self) -> None:
        """Give up connections. What was saved stays saved."""
        if not self._closed:
            self._closed = True
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Tier({self._store.name})"

    def _open(self, key: str | None = None) -> Store:
        if self._closed:
            raise SessionClosed(f"the tier {self._store.name} was closed; open it again")
        if key is not None:
            check_key(key)
        return self._store
