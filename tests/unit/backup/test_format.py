"""The bytes of a segment: read back, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.backup.format import Kept, encode_segment, open_segment
from headwater.backup.names import START, Offsets
from headwater.errors import CorruptData, HeadwaterError, SchemaTooNew

AFTER = Offsets(1, 2, 3)
records = st.lists(
    st.builds(
        Kept,
        topic=st.integers(0, 2),
        offset=st.integers(0, 1 << 62),
        timestamp=st.integers(-1, 1 << 50),
        key=st.binary(max_size=30),
        value=st.none() | st.binary(max_size=200),
    ),
    max_size=20,
)


@given(records)
def test_records_come_back(found: list[Kept]) -> None:
    """All of them, in their order, tombstones and empty values told apart."""
    segment = open_segment(encode_segment(7, START, AFTER, found))
    assert (segment.partition, segment.first, segment.after) == (7, START, AFTER)
    assert list(segment.records()) == found


@given(records, st.sets(st.integers(0, 19)))
def test_some_come_back_without_the_others(found: list[Kept], wanted: set[int]) -> None:
    """Those that are asked for, from blocks that hold them."""
    segment = open_segment(encode_segment(0, START, AFTER, found))
    values = [value for _, value in segment.values(wanted.__contains__)]
    assert values == [r.value for n, r in enumerate(found) if n in wanted]


def test_large_values_are_in_blocks_of_their_own() -> None:
    """Several blocks, and whatever is asked for is found."""
    found = [Kept(1, n, 0, b"%d" % n, bytes([n]) * 700_000) for n in range(5)]
    data = encode_segment(0, START, AFTER, found)
    assert len(data) < 100_000
    segment = open_segment(data)
    assert list(segment.records()) == found
    assert [v for _, v in segment.values(lambda n: n == 3)] == [found[3].value]


SAMPLE = [Kept(1, n, 5, b"key-%d" % n, b"value %d " % n * 20) for n in range(30)]


@given(st.data())
@settings(max_examples=300)
def test_damage_is_found(data: st.DataObject) -> None:
    """Whichever byte is changed, and wherever it is cut off: an error, or the same records."""
    whole = encode_segment(0, START, AFTER, SAMPLE)
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged = bytes([*whole[:at], whole[at] ^ data.draw(st.integers(1, 255)), *whole[at + 1 :]])
    try:
        found = list(open_segment(damaged).records())
    except (CorruptData, SchemaTooNew):
        return
    except HeadwaterError as error:
        pytest.fail(f"not as corrupt data: {error!r}")
    assert found == SAMPLE


def test_more_than_was_written_is_damage() -> None:
    """Bytes after the end, and a later version."""
    whole = encode_segment(0, START, AFTER, SAMPLE)
    with pytest.raises(CorruptData):
        open_segment(whole + b"x")
    with pytest.raises(SchemaTooNew):
        open_segment(whole[:4] + b"\x09" + whole[5:])
