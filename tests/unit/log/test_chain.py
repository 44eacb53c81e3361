"""The hash chain, and the partitioner that every producer and reader must agree on."""

from __future__ import annotations

from hashlib import sha256

import pytest

from headwater.log.chain import genesis_hash, next_hash, partition_of, record_digest


@pytest.mark.parametrize(
    ("key", "expected"),
    [  # murmur2 & 0x7fffffff, from org.apache.kafka.common.utils.UtilsTest
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_partitions_are_kafkas_own(key: bytes, expected: int) -> None:
    """murmur2 as Kafka's Java client computes it."""
    assert partition_of(key, 2**31) == expected & 0x7FFFFFFF
    assert partition_of(key, 12) == (expected & 0x7FFFFFFF) % 12


def test_the_chain_is_what_the_design_says() -> None:
    """Genesis, digest and link, spelt out once more with plain SHA-256."""
    head = sha256(b"headwater.genesis.v1\0" + b"a").digest()
    assert genesis_hash("a") == head
    digest = sha256(b"fingerpr" + b"body").digest()
    assert record_digest(b"\xc3\x01" + b"fingerpr" + b"body") == digest
    assert next_hash(head, digest) == sha256(b"headwater.chain.v1\0" + head + digest).digest()
