"""Predicted recovery times: what is read, rates fitted to measurements, and what they predict."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.log.snapshots import Pointer
from headwater.recovery.predict import (
    RECORD_BYTES,
    TYPICAL,
    TYPICAL_BULK,
    Rates,
    Reading,
    fit,
    predict,
    predict_fleet,
)

TRUE = Rates(fixed_s=4e-3, record_s=6e-4, byte_s=9e-8, tail_record_s=1e-6)
readings = st.builds(
    Reading,
    records=st.integers(0, 20),
    size_bytes=st.integers(0, 1_000_000),
    tail_records=st.integers(0, 5000),
)


def _sample(count: int, seed: int = 1) -> list[Reading]:
    rng = random.Random(seed)
    return [
        Reading(
            records=rng.randint(1, 11),
            size_bytes=round(1000 * 500 ** rng.random()),
            tail_records=rng.choice((0, 100, 5000)),
        )
        for _ in range(count)
    ]


def test_a_reading_counts_what_a_chain_has() -> None:
    """Each snapshot is a record with its overhead, a large one as many as hold its chunks."""
    chain = [Pointer(0, 1, 1, 2_000_000), Pointer(9, 1, 2, 500)]
    reading = Reading.of(chain, 7)
    assert reading == Reading(
        records=1 + 3 + 1, size_bytes=2_000_500 + 2 * RECORD_BYTES, tail_records=7
    )
    assert Reading.of([], 3) == Reading(records=0, size_bytes=0, tail_records=3)


def test_seconds_add_up() -> None:
    """Each rate counts what it is for."""
    rates = Rates(fixed_s=1, record_s=10, byte_s=100, tail_record_s=1000)
    assert rates.seconds(Reading(records=2, size_bytes=3, tail_records=4)) == 4321
    assert rates.scaled(2).seconds(Reading(records=0, size_bytes=0)) == 2


def test_rates_are_found_again() -> None:
    """Exact measurements lead to rates that predict what was not measured, within a tenth."""
    rates = fit([(reading, TRUE.seconds(reading)) for reading in _sample(40)])
    for reading in _sample(200, seed=2):
        assert rates.seconds(reading) == pytest.approx(TRUE.seconds(reading), rel=0.1)


def test_noise_does_not_carry_the_fit_away() -> None:
    """With times that scatter by a factor of two and some that are ten times too long, nine of
    ten predictions are within a factor of two.
    """
    rng = random.Random(3)
    measured = [
        (reading, TRUE.seconds(reading) * 2 ** rng.uniform(-0.5, 0.5) * rng.choice([1] * 12 + [10]))
        for reading in _sample(30)
    ]
    rates = fit(measured)
    assert sum(seconds > rates.seconds(r) for r, seconds in measured) == 15
    ratios = [rates.seconds(r) / TRUE.seconds(r) for r in _sample(300, seed=4)]
    assert sum(0.5 <= ratio <= 2 for ratio in ratios) >= 270


@given(st.lists(st.tuples(readings, st.floats(1e-6, 1e3)), max_size=30))
def test_no_rate_is_below_zero(measured: list[tuple[Reading, float]]) -> None:
    """Whatever was measured, rates are no less than 0, and every recovery takes some time."""
    rates = fit(measured)
    assert min(rates.fixed_s, rates.record_s, rates.byte_s, rates.tail_record_s) >= 0
    assert rates.seconds(Reading(records=1, size_bytes=1000, tail_records=1)) > 0


def test_without_measurements_rates_are_typical() -> None:
    """Nothing measured, or nothing that took any time: the prior."""
    assert fit([]) == TYPICAL
    assert fit([(_sample(1)[0], 0.0)]) == TYPICAL


def test_a_prediction_says_what_is_read() -> None:
    """Records are snapshots and tail; seconds are also a timedelta."""
    found = predict("a", Reading(records=3, size_bytes=900, tail_records=20), TRUE)
    assert (found.agent_id, found.records, found.tail_records) == ("a", 23, 20)
    assert found.duration.total_seconds() == pytest.approx(found.seconds, abs=1e-6)


def test_a_fleet_reads_each_tail_once() -> None:
    """Agents of one partition share its tail when they are recovered at once."""
    of = [Reading(records=n, size_bytes=1000 * n, tail_records=50) for n in (1, 2, 3)]
    agents = [predict(f"agent-{n}", reading, TRUE) for n, reading in enumerate(of)]
    fleet = predict_fleet(agents, of, [50], TYPICAL_BULK)
    assert (fleet.records, fleet.size_bytes) == (1 + 2 + 3 + 50, 6000)
    assert fleet.longest == agents[2]
    assert fleet.seconds < sum(agent.seconds for agent in agents)
    assert predict_fleet([], [], [], TYPICAL_BULK).longest is None
