"""Compression: choice of the codec, round trips, and what damaged or hostile bytes lead to."""

from __future__ import annotations

import random
import resource
import sys
import tracemalloc
import zlib

import lz4.frame
import pytest
import snappy
from hypothesis import given
from hypothesis import strategies as st

from headwater.compression import (
    MEGABYTE,
    Codec,
    adaptive,
    by_size,
    codec_for,
    compress,
    decompress,
)
from headwater.errors import CorruptData, DecompressionBomb

PACKING = (Codec.GZIP, Codec.LZ4, Codec.SNAPPY)
MIXED = b"headwater " * 30 + random.Random(4).randbytes(150) + bytes(200)
payloads = st.one_of(
    st.binary(max_size=3000),
    st.builds(lambda part, times: part * times, st.binary(max_size=40), st.integers(0, 4000)),
)


class Ticks:
    """A clock that advances by the given seconds, in turn, from each call to the next."""

    def __init__(self, *seconds: float) -> None:
        self._steps = [step for s in seconds for step in (0.0, s)]
        self._now = 0.0

    def __call__(self) -> float:
        self._now += self._steps.pop(0)
        return self._now


@pytest.mark.parametrize("codec", Codec)
@given(data=payloads)
def test_round_trip(codec: Codec, data: bytes) -> None:
    """What was compressed comes back, whatever it was, and compresses to the same bytes again."""
    packed = compress(data, codec)
    assert decompress(packed, codec, len(data)) == data
    assert decompress(packed, str(codec), len(data), limit_bytes=len(data)) == data
    assert compress(data, codec) == packed


def test_the_codec_follows_from_the_size() -> None:
    """Below 1 MB lz4, below 10 MB snappy, else gzip; a megabyte has 2**20 bytes."""
    assert MEGABYTE == 1 << 20
    sizes = (0, MEGABYTE - 1, MEGABYTE, 10 * MEGABYTE - 1, 10 * MEGABYTE, 64 * MEGABYTE)
    assert [codec_for(size) for size in sizes] == ["lz4", "lz4", "snappy", "snappy", "gzip", "gzip"]
    packed = by_size(MIXED)
    assert (packed.codec, packed.original_size) == (Codec.LZ4, len(MIXED))
    assert packed.data == compress(MIXED, Codec.LZ4)
    assert packed.ratio == len(packed.data) / len(MIXED)


def test_the_lowest_score_wins() -> None:
    """0.7 x ratio + 0.3 x seconds: gzip packs best, until it takes so long that it loses."""
    data = b"".join(b"%d words " % number for number in range(400))
    gzip, *others = (len(compress(data, codec)) / len(data) for codec in PACKING)
    lead = (min(others) - gzip) * 0.7 / 0.3
    assert lead > 0
    assert adaptive(data, Ticks(lead * 0.99, 0, 0)).codec is Codec.GZIP
    assert adaptive(data, Ticks(lead * 1.01, 0, 0)).codec is not Codec.GZIP
    assert adaptive(data, Ticks(9, 0, 9)).codec is Codec.LZ4
    assert adaptive(data, Ticks(9, 9, 0)).codec is Codec.SNAPPY


@given(data=payloads)
def test_adaptive_is_one_of_the_three(data: bytes) -> None:
    """Even where nothing gets smaller, it is what one of the codecs made, and comes back."""
    packed = adaptive(data)
    assert packed.codec in PACKING
    assert decompress(packed.data, packed.codec, packed.original_size) == data


@pytest.mark.parametrize("codec", Codec)
def test_every_truncation_is_noticed(codec: Codec) -> None:
    """Cut off anywhere, no codec's data passes."""
    packed = compress(MIXED, codec)
    for length in range(len(packed)):
        with pytest.raises(CorruptData) as caught:
            decompress(packed[:length], codec, len(MIXED))
        assert not isinstance(caught.value, DecompressionBomb) or codec is Codec.SNAPPY


@pytest.mark.parametrize("codec", Codec)
def test_what_follows_is_noticed(codec: Codec) -> None:
    """Bytes behind the end do not pass, nor does a second stream."""
    packed = compress(MIXED, codec)
    for rest in (b"\0", b"more", packed, compress(b"", codec) or b"x"):
        with pytest.raises(CorruptData):
            decompress(packed + rest, codec, len(MIXED))


@pytest.mark.parametrize("codec", Codec)
def test_every_flipped_bit_is_noticed_or_left_to_the_checksum(codec: Codec) -> None:
    """Gzip and lz4 never give other bytes; snappy and none never another length."""
    packed = compress(MIXED, codec)
    passed = 0
    for place in range(len(packed) * 8):
        broken = bytearray(packed)
        broken[place // 8] ^= 1 << place % 8
        try:
            found = decompress(bytes(broken), codec, len(MIXED))
        except CorruptData:
            continue
        passed += 1
        assert len(found) == len(MIXED)
        if codec in (Codec.GZIP, Codec.LZ4):
            assert found == MIXED
    # What passes in those two: bits of gzip's header, and copies from where the same bytes are.
    assert passed < {"gzip": 70, "lz4": 10}.get(codec, len(packed) * 8 + 1)


@pytest.mark.parametrize("written", PACKING)
@pytest.mark.parametrize("read", Codec)
def test_a_wrong_codec_is_noticed(written: Codec, read: Codec) -> None:
    """One codec's data is never another's."""
    if written is not read:
        with pytest.raises(CorruptData):
            decompress(compress(MIXED, written), read, len(MIXED))


def test_an_unknown_codec_is_named() -> None:
    """A codec that there is not."""
    with pytest.raises(CorruptData, match="'zstd'") as caught:
        decompress(b"", "zstd", 0)
    assert caught.value.check == "codec"


@pytest.mark.parametrize("codec", Codec)
def test_another_size_than_declared(codec: Codec) -> None:
    """Fewer bytes than declared are corrupt, more are a bomb, and a negative size is nonsense."""
    packed = compress(MIXED, codec)
    with pytest.raises(CorruptData, match="holds"):
        decompress(packed, codec, len(MIXED) + 1)
    with pytest.raises(CorruptData if codec is Codec.NONE else DecompressionBomb):
        decompress(packed, codec, len(MIXED) - 1)
    with pytest.raises(CorruptData):
        decompress(packed, codec, -1)


def _bomb(codec: Codec, size: int) -> bytes:
    """``size`` zeros, made a piece at a time."""
    piece = bytes(1 << 20)
    if codec is Codec.GZIP:
        gzip = zlib.compressobj(9, zlib.DEFLATED, 31)
        parts = [gzip.compress(piece) for _ in range(size >> 20)]
        return b"".join(parts) + gzip.flush()
    if codec is Codec.LZ4:
        frame = lz4.frame.LZ4FrameCompressor(content_checksum=True)
        parts = [frame.begin(), *(frame.compress(piece) for _ in range(size >> 20)), frame.flush()]
        return b"".join(parts)
    return _snappy_bomb(size, declared=size)


def _snappy_bomb(size: int, declared: int) -> bytes:
    """A length, whichever it may be, then runs of zeros: each copy of 64 takes three bytes."""
    piece = bytes(1 << 20)
    body: bytes = snappy.compress(piece)
    return _varint(declared) + body[len(_varint(len(piece))) :] * (size >> 20)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize("codec", PACKING)
def test_a_bomb_takes_no_memory(codec: Codec) -> None:
    """256 MB of zeros that declare 4 KB are refused, without room for them."""
    bomb = _bomb(codec, 256 << 20)
    before = _resident_bytes()
    tracemalloc.start()
    try:
        with pytest.raises(DecompressionBomb):
            decompress(bomb, codec, 4096)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(bomb) + (1 << 20)
    assert _resident_bytes() - before < 2 * len(bomb) + (16 << 20)


@pytest.mark.parametrize("codec", PACKING)
def test_a_bomb_that_declares_itself(codec: Codec) -> None:
    """More than the limit is refused before a byte of it is read."""
    with pytest.raises(DecompressionBomb, match="limit of 67,108,864"):
        decompress(b"", codec, (64 << 20) + 1)
    with pytest.raises(DecompressionBomb):
        decompress(compress(MIXED, codec), codec, len(MIXED), limit_bytes=len(MIXED) - 1)


def test_snappy_that_grows_beyond_its_own_length() -> None:
    """A header that tells a small length, and a body of 256 MB."""
    tracemalloc.start()
    try:
        with pytest.raises(CorruptData):
            decompress(_snappy_bomb(256 << 20, declared=4096), Codec.SNAPPY, 4096)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_length_that_snappy_never_ends() -> None:
    """A length of more than five bytes, or none at all, is no snappy data."""
    for data in (b"", b"\xff" * 6):
        with pytest.raises(CorruptData, match="length"):
            decompress(data, Codec.SNAPPY, 10)


def _resident_bytes() -> int:
    """The most memory that this process ever had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
