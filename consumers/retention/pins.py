"""How far a backup has come, as it says so itself.

A backup that is in use keeps one record in each partition of ``checkpoints``, under the key
``!backup``: MessagePack, a map with the offsets up to which (exclusively) it has copied the
same-numbered partitions: {"events": 0, "snapshots": 0, "checkpoints": 0}. It writes the record
before it copies anything, after each stretch that its tier has acknowledged, and a tombstone once
the backup is given up; what was not copied stays until then.
"""

from __future__ import annotations

import msgspec

from headwater.errors import UndecodableRecord

from .model import BackupPin

BACKUP_KEY = b"!backup"

_decode = msgspec.msgpack.Decoder(BackupPin)
_encode = msgspec.msgpack.Encoder()


def encode_pin(pin: BackupPin) -> bytes:
    """The value of a backup's record."""
    return _encode.encode(pin)


def decode_pin(value: bytes) -> BackupPin:
    """The position of a backup's record; :class:`UndecodableRecord` for what is none."""
    try:
        return _decode.decode(value)
    except msgspec.DecodeError as error:
        raise UndecodableRecord(f"the backup's position cannot be read: {error}") from error
