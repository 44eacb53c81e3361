"""Compression of stored payloads: gzip, lz4 and snappy, chosen by size or by trying each.

A codec's own checks find most damage, not all of it:

========  ============================================  =====================================
codec     notices                                       leaves to the caller's SHA-256
========  ============================================  =====================================
gzip      any changed content (CRC-32), truncation      bits of the header that change nothing
lz4       any changed content (xxHash-32), truncation   nothing that changes the content
snappy    truncation, a wrong length, broken syntax     literals changed in place
none      a wrong length                                everything else
========  ============================================  =====================================
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import lz4.frame
import snappy

from headwater.errors import CorruptData, DecompressionBomb

MEGABYTE = 1 << 20
LIMIT_BYTES = 64 * MEGABYTE

_RATIO_WEIGHT = 0.7
_SECONDS_WEIGHT = 0.3
_GZIP_WINDOW = 31  # the largest window, and gzip's header and trailer
_GZIP_LEVEL = 6


class Codec(StrEnum):
    """How a payload is stored."""

    NONE = "none"
    GZIP = "gzip"
    LZ4 = "lz4"
    SNAPPY = "snappy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed:
    """Compressed bytes, and what it takes to have the original again."""

    codec: Codec
    original_size: int
    data: bytes

    @property
    def ratio(self) -> float:
        """Compressed bytes over original bytes; above 1 for what does not compress."""
        return len(self.data) / max(1, self.original_size)


def codec_for(size_bytes: int) -> Codec:
    """The codec for a payload of that size: below 1 MB lz4, below 10 MB snappy, else gzip.

    A megabyte is 2**20 bytes.
    """
    if size_bytes < MEGABYTE:
        return Codec.LZ4
    return Codec.SNAPPY if size_bytes < 10 * MEGABYTE else Codec.GZIP


def compress(data: bytes, codec: Codec) -> bytes:
    """``data`` in one codec; the same bytes each time, by the same version of its library.

    What does not compress comes out a little larger: a caller may keep it as NONE instead.
    """
    match codec:
        case Codec.NONE:
            return data
        case Codec.GZIP:
            gzip = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)  # mtime is 0
            return gzip.compress(data) + gzip.flush()
        case Codec.LZ4:
            packed: bytes = lz4.frame.compress(data, content_checksum=True)
            return packed
        case Codec.SNAPPY:
            raw: bytes = snappy.compress(data)
            return raw


def by_size(data: bytes) -> Compressed:
    """``data`` in the codec for its size; see :func:`codec_for`."""
    codec = codec_for(len(data))
    return Compressed(codec=codec, original_size=len(data), data=compress(data, codec))


def adaptive(data: bytes, clock: Callable[[], float] = time.perf_counter) -> Compressed:
    """``data`` in the codec with the lowest score; of equal ones the first of gzip, lz4, snappy.

    The score is 0.7 x ratio + 0.3 x seconds, where ratio is compressed over original size and
    seconds are what ``clock`` says that compressing took. All three are tried, and one of the
    three is what comes back, even where nothing gets smaller: a caller may keep the original.
    """
    best: tuple[float, Compressed] | None = None
    for codec in (Codec.GZIP, Codec.LZ4, Codec.SNAPPY):
        started = clock()
        packed = Compressed(codec=codec, original_size=len(data), data=compress(data, codec))
        score = _RATIO_WEIGHT * packed.ratio + _SECONDS_WEIGHT * (clock() - started)
        if best is None or score < best[0]:
            best = score, packed
    assert best is not None
    return best[1]


def decompress(
    data: bytes, codec: Codec | str, original_size: int, limit_bytes: int = LIMIT_BYTES
) -> bytes:
    """The original of compressed ``data``, exactly ``original_size`` bytes.

    Raises :class:`CorruptData` for what the codec cannot read to its end, what goes on behind it,
    and another size; :class:`DecompressionBomb` for what declares more than ``limit_bytes`` or
    grows beyond ``original_size``. Never allocates much more than ``original_size``. What may
    still be wrong with the bytes is in the module's text: hold them against their SHA-256.
    """
    try:
        known = Codec(codec)
    except ValueError:
        raise CorruptData(f"no codec is called {codec!r}", "codec") from None
    if original_size > limit_bytes:
        raise DecompressionBomb(
            f"{known} data declares {original_size:,} bytes, over the limit of {limit_bytes:,}",
            "limit",
        )
    if original_size < 0:
        raise CorruptData(f"{known} data declares {original_size} bytes", "size")
    found = _DECOMPRESS[known](data, original_size)
    if len(found) != original_size:
        raise CorruptData(
            f"{known} data holds {len(found):,} bytes and declares {original_size:,}", "size"
        )
    return found


def _plain(data: bytes, original_size: int) -> bytes:
    return data


def _gunzip(data: bytes, original_size: int) -> bytes:
    stream = zlib.decompressobj(_GZIP_WINDOW)
    try:
        # One byte more than there should be: room to see whether there is more.
        found = stream.decompress(data, original_size + 1)
    except zlib.error as error:
        raise _broken(Codec.GZIP, error) from error
    _check_end(Codec.GZIP, len(found), original_size, stream.eof, stream.unused_data)
    return found


def _unlz4(data: bytes, original_size: int) -> bytes:
    stream = lz4.frame.LZ4FrameDecompressor()
    try:
        found: bytes = stream.decompress(data, max_length=original_size + 1)
    except (RuntimeError, ValueError) as error:
        raise _broken(Codec.LZ4, error) from error
    _check_end(Codec.LZ4, len(found), original_size, stream.eof, stream.unused_data)
    return found


def _unsnappy(data: bytes, original_size: int) -> bytes:
    declared = _declared(data)
    if declared > original_size:
        raise _bomb(Codec.SNAPPY, original_size)
    try:
        found: bytes = snappy.decompress(data)
    except snappy.UncompressError as error:
        raise _broken(Codec.SNAPPY, error.__cause__ or error) from error
    return found


def _declared(data: bytes) -> int:
    """The length with which snappy data begins: seven bits a byte, the lowest first."""
    size = 0
    for place, byte in enumerate(data[:5]):
        size |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return size
    raise CorruptData("snappy data does not begin with its length", "codec")


def _check_end(
    codec: Codec, found: int, original_size: int, ended: bool, rest: bytes | None
) -> None:
    if found > original_size:
        raise _bomb(codec, original_size)
    if not ended:
        raise CorruptData(f"{codec} data is cut off after {found:,} bytes", "truncated")
    if rest:
        raise CorruptData(f"{codec} data is followed by {len(rest):,} bytes", "trailing")


def _broken(codec: Codec, error: BaseException) -> CorruptData:
    return CorruptData(f"{codec} data is broken: {error}", "codec")


def _bomb(codec: Codec, original_size: int) -> DecompressionBomb:
    return DecompressionBomb(
        f"{codec} data grows beyond the {original_size:,} bytes that it declares", "size"
    )


_DECOMPRESS: dict[Codec, Callable[[bytes, int], bytes]] = {
    Codec.NONE: _plain,
    Codec.GZIP: _gunzip,
    Codec.LZ4: _unlz4,
    Codec.SNAPPY: _unsnappy,
}
