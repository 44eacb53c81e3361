"""Admission of the record that comes nearly always: one more change by the same writer.

An agent's owner writes one CHANGE after the other, and all of them begin with the same bytes:
Avro header and the fields that are constant for a session, up to ``prev``. So a value that begins
like the last admitted CHANGE, and goes on with the head's hash, is one that
:func:`~headwater.log.fold.admit` would admit; only its patch has to be cut out. Whatever is not
plainly that takes the long way, and both ways lead to the same head (a test holds them to it).
"""

from __future__ import annotations

from headwater.log.chain import HASH_BYTES, next_hash, record_digest
from headwater.log.fold import Admission, Head, admit, advance
from headwater.log.records import StateChange, encode_long
from headwater.wire import codec

_HAS_PREV = 0x02
_LONGEST = 9  # bytes of a varint: what is longer might not fit into 64 bits
_TOP_BITS = {n: int.from_bytes(b"\x80" * n, "little") for n in range(1, _LONGEST + 1)}


class MovingHead:
    """An agent's head that moves along its log, cheaply where that is possible.

    :meth:`extend` first; where it returns None, :meth:`take`.
    """

    __slots__ = ("_created", "_head", "_moved", "_prefix", "_prefix_bytes", "hash", "record")

    def __init__(self, head: Head) -> None:
        self._settle(head, None)

    def _settle(self, head: Head, prefix: bytes | None) -> None:
        self._head = head
        self.hash = head.hash
        self.record = head.record
        self._moved = 0
        self._created = b"\0"
        self._prefix = prefix
        self._prefix_bytes = len(prefix) if prefix is not None else 0

    @property
    def head(self) -> Head:
        """The head as it is now."""
        if self._moved:
            old, count = self._head, self._moved
            self._head = Head(
                old.agent_id, old.epoch, old.nonce, old.node_id, old.incarnation, old.lease_ms,
                old.session_id, old.request_id, old.sequence + count, old.version + count,
                self.hash, self.record, False, _read_long(self._created),
            )  # fmt: skip
            self._moved = 0
        return self._head

    @property
    def version(self) -> int:
        """The head's version."""
        return self._head.version + self._moved

    def extend(self, value: bytes) -> bytes | None:
        """The patch of ``value`` if it plainly is the same writer's next CHANGE, which then is
        admitted; else None, and nothing has happened.
        """
        prefix, start = self._prefix, self._prefix_bytes
        if prefix is None or not value.startswith(prefix) or not value.startswith(self.hash, start):
            return None
        try:
            at = start + HASH_BYTES
            while value[at] & 0x80:
                at += 1
            if at >= start + HASH_BYTES + _LONGEST:
                return None
            body = at + 2
            size = value[at + 1]
            if size & 0x80:
                while value[body] & 0x80:
                    body += 1
                body += 1
                size = _read_long(value[at + 1 : body])
            else:
                size = size >> 1 ^ -(size & 1)
        except IndexError:
            return None
        if size < 0 or body - at > _LONGEST + 1:
            return None
        created = value[body + size :]
        # One varint and nothing more: the top bit is set in all bytes but the last.
        mask = _TOP_BITS.get(len(created))
        if mask is None or int.from_bytes(created, "little") & mask != mask >> 8:
            return None
        digest = record_digest(value)
        self.hash = next_hash(self.hash, digest)
        self.record = digest
        self._created = created
        self._moved += 1
        return value[body : body + size]

    def take(self, change: StateChange, value: bytes) -> Admission:
        """What :func:`admit` says of any record, which is taken in if it is admitted.

        ``change`` is what ``value`` was parsed to.
        """
        admission = admit(self.head, change)
        if admission is Admission.ADMITTED:
            prefix = _prefix_of(value, change) if change.kind == "CHANGE" else None
            self._settle(advance(self.head, change), prefix)
        return admission


def _prefix_of(value: bytes, change: StateChange) -> bytes | None:
    """The bytes before ``prev``'s own, or None where the value is not encoded as ours are."""
    if change.prev is None or change.sequence < 0 or change.created_at < 0:
        return None
    tail = b"".join(
        (
            change.prev,
            encode_long(change.sequence),
            encode_long(len(change.patch)),
            change.patch,
            encode_long(change.created_at),
        )
    )
    prefix = value[: -len(tail)]
    # The layout is known for the current schema only. No other bytes than the canonical ones can
    # end like the tail and leave this branch mark before it.
    canonical = (
        value.startswith(codec("StateChange").header)
        and value.endswith(tail)
        and prefix[-1] == _HAS_PREV
    )
    return prefix if canonical else None


def _read_long(data: bytes) -> int:
    raw = 0
    for shift, byte in enumerate(data):
        raw |= (byte & 0x7F) << 7 * shift
    return (raw >> 1) ^ -(raw & 1)
