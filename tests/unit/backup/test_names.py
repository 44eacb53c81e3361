"""Segments' names, and which of them count."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.backup.names import (
    START,
    Manifest,
    Offsets,
    SegmentName,
    chain,
    decode_manifest,
    encode_manifest,
    parse_name,
)
from headwater.errors import CorruptData, SchemaTooNew

offsets = st.builds(Offsets, *[st.integers(0, 1 << 40)] * 3)


def segment(first: tuple[int, ...], after: tuple[int, ...], generation: int = 0) -> SegmentName:
    """A segment of partition 0."""
    return SegmentName(0, Offsets(*first), Offsets(*after), generation)


@given(st.integers(0, 99_999), offsets, offsets, st.integers(0, 5), st.integers(0, 99))
def test_a_name_tells_what_is_in_it(
    partition: int, one: Offsets, more: Offsets, generation: int, size: int
) -> None:
    """A key is read back to what it was made of; one that leads nowhere is no segment's."""
    after = Offsets(*(a + b for a, b in zip(one, more, strict=True)))
    name = SegmentName(partition, one, after, generation, size)
    assert parse_name(name.key, size) == (name if one != after else None)


@pytest.mark.parametrize(
    "key",
    [
        "backup/manifest",
        "backup/p0000/1.1.1-0.2.2-g0000.seg",
        "backup/p0000/x.seg",
        "other/p0000/0.0.0-1.1.1-g0000.seg",
    ],
)
def test_other_keys_are_no_segments(key: str) -> None:
    """Neither the manifest, nor what leads backwards, nor what lies somewhere else."""
    assert parse_name(key) is None


def test_segments_follow_each_other() -> None:
    """From the start, each where the one before ends; what is not reached does not count."""
    a = segment((0, 0, 0), (0, 5, 0))
    b = segment((0, 5, 0), (4, 9, 1))
    stray = segment((5, 9, 1), (6, 9, 1))
    for order in itertools.permutations([a, b, stray]):
        assert chain(order) == [a, b]
    assert chain([b, stray]) == []
    assert chain([]) == []


def test_merged_ones_win_over_what_they_replace() -> None:
    """As soon as they are all there, and whatever is left of the others."""
    old = [segment((n, n, n), (n + 1, n + 1, n + 1)) for n in range(4)]
    merged = [segment((0, 0, 0), (0, 3, 0), 1), segment((0, 3, 0), (4, 4, 4), 1)]
    assert chain([*old, merged[0]]) == old
    for left in range(5):
        assert chain([*old[left:], *merged]) == merged


def test_of_two_that_wrote_at_once_the_further_way_counts() -> None:
    """Even where it takes more segments; and it can always be gone on from."""
    short = segment((0, 0, 0), (7, 7, 7))
    far = [segment((0, 0, 0), (5, 5, 5)), segment((5, 5, 5), (9, 9, 9))]
    assert chain([short, *far]) == far
    assert chain([short, far[0]]) == [short]


@given(st.lists(offsets, max_size=8), st.randoms())
def test_a_chain_is_gapless(places: list[Offsets], rng: object) -> None:
    """Whatever is there, what counts begins at the start and has no gap."""
    ordered = sorted({START, *places})
    names = [
        SegmentName(0, a, b)
        for a, b in itertools.combinations(ordered, 2)
        if all(x <= y for x, y in zip(a, b, strict=True))
    ]
    found = chain(names)
    assert [n.first for n in found] == [START, *(n.after for n in found)][: len(found)]


def test_a_manifest_is_read_back() -> None:
    """Or refused: broken, or of a later version."""
    manifest = Manifest(partitions=3, prefix="p.", cluster_id="c", created_at=5)
    assert decode_manifest(encode_manifest(manifest)) == manifest
    with pytest.raises(CorruptData):
        decode_manifest(b"{}")
    with pytest.raises(SchemaTooNew):
        decode_manifest(b'{"version": 2, "other": 1}')
