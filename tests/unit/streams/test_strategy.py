"""What the strategies decide, from sizes alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import ConfigError
from headwater.log.snapshots import Pointer
from headwater.recovery.predict import Rates, Reading
from streams.snapshots.strategy import (
    FULL,
    INCREMENT,
    RECORD_BYTES,
    Budget,
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


def _play(
    strategy: Strategy, fulls: list[int], sizes: list[int]
) -> Iterator[tuple[list[Pointer], Decision, int]]:
    """Each chain that a strategy leads to, its decision, and the bytes that it then writes; the
    n-th state would have ``fulls[n]`` bytes, the n-th change ``sizes[n]``.
    """
    chain = _chain(fulls[0])
    for full, size in zip(fulls[1:], sizes, strict=False):
        decision = strategy.decide(chain, size, 1)
        if decision.full:
            chain, written = _chain(full), full
        else:
            kept = chain[: len(chain) - decision.merge]
            written = size + sum(p.size for p in chain[len(kept) :])
            chain = _chain(*(p.size for p in kept), written)
        yield chain, decision, written


RATES = Rates(fixed_s=2e-3, record_s=1e-3, byte_s=1e-8, tail_record_s=1e-6)


def _ms(chain: list[Pointer], rates: Rates = RATES) -> float:
    return rates.seconds(Reading.of(chain)) * 1000


@given(
    sizes=st.lists(st.integers(1, 200_000), min_size=1, max_size=120),
    full=st.integers(1, 3_000_000),
    growth=st.integers(-2000, 20_000),
    rto_ms=st.floats(1, 200),
)
def test_within_the_budget_whenever_a_full_one_is(
    sizes: list[int], full: int, growth: int, rto_ms: float
) -> None:
    """Where the full snapshot that begins a chain fits, so does the chain after each decision."""
    strategy = Budget(rto_ms=rto_ms, rates=RATES)
    fulls = [max(1, full + growth * n) for n in range(len(sizes) + 1)]
    before = _chain(fulls[0])
    for chain, _, _ in _play(strategy, fulls, sizes):
        if _ms(before[:1]) <= rto_ms and _ms(chain[:1]) <= rto_ms:
            assert _ms(chain) <= rto_ms
        assert len(chain) <= strategy.increments + 1
        before = chain


def test_a_budget_makes_no_more_fulls_than_it_needs() -> None:
    """Within a long budget every record is an increment; a shorter one merges, then begins anew."""
    sizes, fulls = [600] * 300, [50_000] * 301
    kinds: dict[int, tuple[int, int, int]] = {}
    for rto_ms in (1000, 20, 8, 5):
        strategy = Budget(rto_ms=rto_ms, rates=RATES)
        steps = list(_play(strategy, fulls, sizes))
        kinds[rto_ms] = (
            sum(d.full for _, d, _ in steps),
            sum(d.merge > 0 for _, d, _ in steps),
            sum(written for *_, written in steps),
        )
        assert max(len(chain) for chain, *_ in steps) <= rto_ms
    assert kinds[1000][0] == 0
    assert kinds[1000][2] < kinds[20][2] < kinds[8][2] < kinds[5][2]
    assert kinds[20][0] == 0 < kinds[20][1]
    assert 0 < kinds[5][0] < 30
    # Near the budget a merge is written again at the next commit: never more than half a full one.
    assert max(written for _, decision, written in steps if not decision.full) <= 25_000


def test_increments_are_merged_before_the_budget_is_exceeded() -> None:
    """Where one record more is too many, the newest four are made one with what is new."""
    strategy = Budget(rto_ms=9, rates=RATES)
    assert strategy.decide(_chain(90_000, 50_000, 9, 9, 9, 9), 9, 1) == Decision(merge=4)
    assert strategy.decide(_chain(9000, 5000, 9, 9), 9, 1) == INCREMENT
    assert Budget(rto_ms=3.1, rates=RATES).decide(_chain(1000), 9, 1) == FULL


def test_what_no_full_snapshot_can_meet_is_left_to_another_strategy() -> None:
    """A state over the budget by itself is not written out at every commit."""
    strategy = Budget(rto_ms=3.001, rates=RATES)
    assert strategy.decide(_chain(10**6), 10, 1) == INCREMENT
    assert strategy.decide(_chain(10**6, 3 * 10**6), 10, 1) == FULL


def test_names() -> None:
    """Strategies are chosen by name, and an unknown one says which there are."""
    chosen: Strategy = make_strategy("chain-length")
    assert chosen == ChainLength()
    assert make_strategy("outweigh") == Outweigh()
    assert make_strategy("budget", rto_ms=20) == Budget(rto_ms=20)
    with pytest.raises(ConfigError, match="outweigh, chain-length, budget"):
        make_strategy("best")
    with pytest.raises(ConfigError, match="needs rto_ms"):
        make_strategy("budget")
    with pytest.raises(ConfigError, match="no other"):
        make_strategy("outweigh", rto_ms=20)
    with pytest.raises(ConfigError, match="above 0"):
        make_strategy("budget", rto_ms=0)
