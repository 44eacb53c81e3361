"""The seal that every stored value carries, and what it takes to break it.

::

    magic "HWTV" | version (1 byte) | length of the value (8) | SHA-256 (32) | value

The digest covers the key as well, so a value that turns up under another key is as corrupt as one
whose bytes have changed.
"""

from __future__ import annotations

import hashlib
import struct

from headwater.errors import CorruptData, SchemaTooNew, TooLarge

#: The largest value that a tier takes, 64 MiB.
MAX_VALUE_BYTES = 64 << 20

_MAGIC = b"HWTV"
_VERSION = 1
_HEADER = struct.Struct(">4sBQ32s")
#: How much longer a sealed value is than the value.
OVERHEAD_BYTES = _HEADER.size


def seal(key: str, value: bytes) -> bytes:
    """The bytes to store. Raises :class:`TooLarge` for a value over :data:`MAX_VALUE_BYTES`."""
    if len(value) > MAX_VALUE_BYTES:
        raise TooLarge(f"the value of {key!r}", len(value), MAX_VALUE_BYTES)
    return _HEADER.pack(_MAGIC, _VERSION, len(value), _digest(key, value)) + value


def unseal(key: str, sealed: bytes) -> bytes:
    """The value. Raises :class:`CorruptData` unless it is what was sealed for this key, and
    :class:`SchemaTooNew` for a seal of a later version.
    """
    if len(sealed) < OVERHEAD_BYTES:
        raise _corrupt(key, "envelope", f"{len(sealed)} bytes are too few to be a stored value")
    magic, version, length, digest = _HEADER.unpack_from(sealed)
    if magic != _MAGIC:
        raise _corrupt(key, "envelope", "it does not begin as a stored value does")
    if version > _VERSION:
        raise SchemaTooNew(
            f"the stored value of {key!r} has a seal of version {version}, and this Headwater "
            f"knows {_VERSION}; upgrade it"
        )
    if version != _VERSION:
        raise _corrupt(key, "envelope", f"no seal ever had version {version}")
    value = sealed[OVERHEAD_BYTES:]
    if len(value) != length:
        raise _corrupt(key, "length", f"{len(value):,} of {length:,} bytes are there")
    if _digest(key, value) != digest:
        raise _corrupt(key, "checksum", "its bytes are not those that were saved")
    return value


def _digest(key: str, value: bytes) -> bytes:
    name = key.encode()
    digest = hashlib.sha256(len(name).to_bytes(4, "big") + name)
    digest.update(value)
    return digest.digest()


def _corrupt(key: str, check: str, what: str) -> CorruptData:
    return CorruptData(f"the stored value of {key!r} is corrupt: {what}", check)
