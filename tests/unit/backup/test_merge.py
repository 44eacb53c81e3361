"""Which segments are merged, and what is left of them."""

from __future__ import annotations

from headwater.backup.archive import Archive
from headwater.backup.format import INDEX, SNAPSHOTS, Kept
from headwater.backup.merge import clean, merge, worth_merging
from headwater.backup.names import START, Offsets, SegmentName
from headwater.tiers import open_tier

SEGMENT = 1 << 20


def named(number: int, size: int, generation: int = 0) -> SegmentName:
    """One segment of many in a row."""
    first, after = (Offsets(n, n, n) for n in (number, number + 1))
    return SegmentName(0, first, after, generation, size)


def kept(topic: int, offset: int, key: str, value: bytes | None = b"x") -> Kept:
    """A record."""
    return Kept(topic, offset, 0, key.encode(), value)


def test_small_ones_are_merged_when_they_are_many() -> None:
    """Only the newest in a row; large ones stay."""
    large, small = named(0, SEGMENT), [named(n, 10) for n in range(1, 6)]
    assert worth_merging([large, *small], SEGMENT, most=4) == small
    assert worth_merging([large, *small], SEGMENT, most=5) == ()
    assert worth_merging([], SEGMENT) == ()


def test_all_are_merged_when_they_have_doubled() -> None:
    """Counted from what the last merge of all left."""
    names = [named(n, SEGMENT) for n in range(5)]
    assert worth_merging(names, SEGMENT) == names
    assert worth_merging(names[:4], SEGMENT) == ()
    merged = [named(n, SEGMENT, 2) for n in range(5)]
    more = [named(n, SEGMENT) for n in range(5, 11)]
    assert worth_merging([*merged, *more[:5]], SEGMENT) == ()
    assert worth_merging([*merged, *more], SEGMENT) == [*merged, *more]


def test_what_no_longer_counts_goes() -> None:
    """Of all segments, tombstones go with what they hide; of some, they stay for what is older."""
    for whole in (True, False):
        archive = Archive(open_tier("memory:"))
        places = [Offsets(n, n, 0) for n in (0, 2, 4, 6)]
        records = [
            [kept(SNAPSHOTS, 0, "a"), kept(SNAPSHOTS, 1, "b"), kept(INDEX, 1, "e", b"1")],
            [kept(SNAPSHOTS, 2, "a", None), kept(SNAPSHOTS, 3, "c"), kept(INDEX, 3, "e", b"2")],
            [kept(SNAPSHOTS, 5, "c", None), kept(INDEX, 5, "f")],
        ]
        names = [
            archive.write(0, first, after, each)
            for first, after, each in zip(places[:-1], places[1:], records, strict=True)
        ]
        run = names if whole else names[1:]
        (written,) = merge(archive, run, SEGMENT, whole=whole)
        assert archive.chain(0) == [*names[: len(names) - len(run)], written]
        assert written.generation % 2 == (not whole)
        found = [(r.key, r.value) for r in archive.read(written).records()]
        if whole:
            assert found == [(b"b", b"x"), (b"e", b"2"), (b"f", b"x")]
        else:
            assert found == [(b"a", None), (b"c", None), (b"e", b"2"), (b"f", b"x")]


def test_what_a_killed_merge_left_is_cleaned_up() -> None:
    """Segments that do not count, and none that do."""
    archive = Archive(open_tier("memory:"))
    archive.write(0, START, Offsets(0, 1, 0), [kept(SNAPSHOTS, 0, "a")])
    last = archive.write(0, Offsets(0, 1, 0), Offsets(0, 2, 0), [kept(SNAPSHOTS, 1, "b")])
    merged = archive.write(0, START, last.after, [kept(SNAPSHOTS, 0, "a")], 2)
    assert archive.chain(0) == [merged]
    assert clean(archive, 0) == 2
    assert archive.all(0) == [merged]
    assert clean(archive, 0) == 0
