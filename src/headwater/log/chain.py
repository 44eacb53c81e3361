"""The hash chain over each agent's records, and the partition that holds it.

``head' = SHA-256(tag, head, SHA-256(schema fingerprint, Avro body))`` over stored bytes, never
re-encoded ones. Framing, key, headers and timestamps stay out, so a chain survives being copied.
"""

from __future__ import annotations

from hashlib import sha256

_LINK = b"headwater.chain.v1\0"
_GENESIS = b"headwater.genesis.v1\0"

HASH_BYTES = 32
NO_RECORD = bytes(HASH_BYTES)


def genesis_hash(agent_id: str) -> bytes:
    """The hash that an agent's first record extends, 32 bytes."""
    return sha256(_GENESIS + agent_id.encode()).digest()


def record_digest(value: bytes) -> bytes:
    """Digest of a stored value: its fingerprint and body, without Avro's two marker bytes."""
    return sha256(value[2:]).digest()


def next_hash(head: bytes, digest: bytes) -> bytes:
    """Hash of the chain once the record with ``digest`` extends ``head``."""
    return sha256(_LINK + head + digest).digest()


def partition_of(key: bytes, partitions: int) -> int:
    """Kafka's default partition of ``key``: murmur2, sign bit cleared, modulo ``partitions``.

    Source: ``org.apache.kafka.common.utils.Utils.murmur2``.
    """
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)
