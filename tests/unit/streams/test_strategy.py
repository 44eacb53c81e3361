"""What the strategies decide, from sizes alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import ConfigError
from headwater.log.snapshots import Pointer
from streams.snapshots.strategy import (
    FULL,
    INCREMENT,
    RECORD_BYTES,
    ChainLength,
    Decision,
    Outweigh,
    Strategy,
    make_strategy,
    newest,
)


def _chain(*sizes: int) -> list[Pointer]:
    full = Pointer(0, 1, 1, sizes[0])
    return [full, *(Pointer(n, n, n + 1, size) for n, size in enumerate(sizes[1:], 1))]


def test_chain_length_follows_the_row() -> None:
    """More than 10 increments, or more than half changed at once, make a full snapshot."""
    strategy = ChainLength()
    assert strategy.decide(_chain(1000, *[10] * 10), 10, 1) == INCREMENT
    assert strategy.decide(_chain(1000, *[10] * 11), 10, 1) == FULL
    assert strategy.decide(_chain(1000), 500, 1) == INCREMENT
    assert strategy.decide(_chain(1000), 501, 1) == FULL


def test_increments_that_outweigh_the_full_one_are_replaced() -> None:
    """Records are weighed with what they add to their payload."""
    strategy = Outweigh(factor=1.0)
    room = 10_000 + RECORD_BYTES
    assert strategy.decide(_chain(10_000, 5000), room - 5000 - 2 * RECORD_BYTES, 1) == INCREMENT
    assert strategy.decide(_chain(10_000, 5000), room - 5000 - 2 * RECORD_BYTES + 1, 1) == FULL


def test_a_chain_that_would_get_too_long_is_merged_from_its_new_end() -> None:
    """Old, large increments are left alone; the newest are gathered, at least four of them."""
    strategy = Outweigh(increments=6)
    chain = _chain(10**9, 50_000, 40_000, 100, 100, 100, 100)
    assert strategy.decide(chain[:-1], 100, 1) == INCREMENT
    assert strategy.decide(chain, 100, 1) == Decision(merge=4)


def test_newest_gathers_geometrically() -> None:
    """An older record is taken in while it has at most twice the bytes gathered so far."""
    assert newest([64, 32, 16, 8, 4, 2], 1, ratio=2.0, least=0) == 6
    assert newest([64, 9, 4], 1, ratio=2.0, least=0) == 0
    assert newest([64, 9, 4], 1, ratio=2.0, least=2) == 2
    assert newest([], 1) == 0


@pytest.mark.parametrize("strategy", [Outweigh(), Outweigh(factor=3.0, increments=15)])
@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=400), full=st.integers(1, 10**6))
def test_no_chain_gets_longer_than_it_may(strategy: Outweigh, sizes: list[int], full: int) -> None:
    """However large the increments are, the chain stays within its bound."""
    chain, written = _chain(full), 0
    for size in sizes:
        decision = strategy.decide(chain, size, 1)
        if decision.full:
            chain = _chain(full)
            continue
        kept = chain[: len(chain) - decision.merge]
        merged = size + sum(p.size for p in chain[len(kept) :])
        chain = _chain(*(p.size for p in kept), merged)
        written += merged
        assert len(chain) <= strategy.increments + 1
    assert written <= sum(sizes) * 12


def test_names() -> None:
    """Strategies are chosen by name, and an unknown one says which there are."""
    chosen: Strategy = make_strategy("chain-length")
    assert chosen == ChainLength()
    assert make_strategy("outweigh") == Outweigh()
    with pytest.raises(ConfigError, match="outweigh, chain-length"):
        make_strategy("best")
