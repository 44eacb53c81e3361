"""Whatever happens, and however it is batched, snapshots and index are what the log says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.snapshots.strategy import ChainLength, Outweigh, Strategy
from tests.support.compaction import Author, Failure, check_store
from tests.support.rig import Rig

DEEDS = st.sampled_from(
    ["say"] * 8 + ["claim", "release", "delete", "garbage", "bad patch", "empty", "commit"] * 2
    + ["fail", "restart", "barrier", "checkpoint", "foreign"]
)  # fmt: skip
STRATEGIES: list[Strategy] = [
    Outweigh(),
    Outweigh(factor=50.0, increments=5),
    ChainLength(longest=3),
]


def _record(author: Author, deed: str, number: int) -> tuple[bytes, bytes]:
    kinds = {"release": "RELEASE", "delete": "DELETE", "checkpoint": "CHECKPOINT"}
    if deed == "claim":
        value = author.claim()
    elif deed in kinds:
        value = author.raw(kinds[deed])
    elif deed == "bad patch":
        value = author.raw("CHANGE", bytes([number % 256, 0x93]))
    elif deed == "empty":
        value = author.raw("CHANGE")
    elif deed == "garbage":
        return author.key, b"\xc3\x01garbage"[: number % 9]
    elif deed == "barrier":
        return author.key, author._session.record("BARRIER", author.hash, 0, b"", 3)
    elif deed == "foreign":
        return b"nobody", author._session.record("CHANGE", author.hash, 1, b"", 3)
    else:
        value = author.say(str(number) * 20)
    return author.key, value


@given(
    st.lists(st.tuples(DEEDS, st.integers(0, 2)), max_size=80),
    st.sampled_from(STRATEGIES),
    st.sampled_from([0, 1 << 20]),
)
@settings(max_examples=150)
def test_any_history_in_any_batches_is_what_the_log_says(
    deeds: list[tuple[str, int]], strategy: Strategy, cache_bytes: int
) -> None:
    """Commits, failures and restarts at any place leave exactly the fold of the log."""
    rig = Rig(strategy, cache_bytes=cache_bytes, limit=3000)
    authors = [Author(name) for name in ("a", "b", "c")]
    for number, (deed, who) in enumerate(deeds):
        if deed == "restart":
            rig.restart()
        elif deed in ("commit", "fail"):
            rig.store.fail_at = "commit" if deed == "fail" else None
            try:
                rig.commit()
            except Failure:
                rig.restart()
            else:
                check_store(rig.store, rig.store.events)
        else:
            rig.take(_record(authors[who], deed, number))
    rig.commit()
    check_store(rig.store, rig.store.events)
    assert rig.counts.rebuilt == 0
