"""Phi-accrual: the numbers behind it, and how it gets used to a node."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.detectors.phi import WINDOW, Arrivals, deviations, phi_at


def test_phi_is_the_survival_function_of_the_normal_distribution() -> None:
    """Values of a table of it: 50 %, 15.87 %, 0.135 %, 6.22e-16."""
    assert phi_at(0.0) == pytest.approx(-math.log10(0.5))
    assert phi_at(1.0) == pytest.approx(-math.log10(0.158655254), abs=1e-8)
    assert phi_at(3.0) == pytest.approx(-math.log10(1.349898e-3), abs=1e-6)
    assert phi_at(8.0) == pytest.approx(-math.log10(6.220961e-16), abs=1e-6)


def test_phi_goes_on_where_the_survival_function_underflows() -> None:
    """At 30 deviations the two ways to it agree, and at a million it is a number."""
    assert phi_at(29.9999999) == pytest.approx(phi_at(30.0), rel=1e-6)
    assert phi_at(1e6) == pytest.approx(1e12 / 2 / math.log(10), rel=1e-9)


@given(st.floats(-8, 1e5), st.floats(0, 1e5))
def test_phi_only_grows(z: float, more: float) -> None:
    """The longer the silence, the less likely it is."""
    assert phi_at(z + more) >= phi_at(z) - 1e-9 * abs(phi_at(z))


@given(st.floats(0.5, 1000))
def test_deviations_is_its_inverse(phi: float) -> None:
    """To many digits."""
    assert phi_at(deviations(phi)) == pytest.approx(phi, rel=1e-6)


@given(st.lists(st.floats(0.001, 30), min_size=0, max_size=3 * WINDOW))
def test_the_ring_keeps_mean_and_deviation_of_the_last_intervals(intervals: list[float]) -> None:
    """As the statistics module has them, of the window and no more; two made-up ones at first."""
    arrivals, now_s = Arrivals(0.2, 0.0), 0.0
    kept = [0.15, 0.25]
    for interval in intervals:
        before_s, now_s = now_s, now_s + interval
        arrivals.beat(now_s)
        kept.append(now_s - before_s)
    kept = kept[-WINDOW:]
    assert arrivals.mean_s == pytest.approx(statistics.fmean(kept), abs=2e-6)
    deviation = max(statistics.pstdev(kept), 0.05)
    assert arrivals.deviation_s == pytest.approx(deviation, abs=1e-4)


def test_sums_stay_exact_after_a_million_beats() -> None:
    """No rounding adds up, whatever passed through."""
    rng, arrivals, now_s = random.Random(5), Arrivals(0.2, 0.0), 0.0
    for _ in range(200_000):
        now_s += rng.choice((1e-6, 0.2, 3600.0))
        arrivals.beat(now_s)
    for _ in range(WINDOW):
        now_s += 0.2
        arrivals.beat(now_s)
    assert arrivals.mean_s == pytest.approx(0.2, abs=1e-5)
    assert arrivals.deviation_s == pytest.approx(0.05, abs=1e-6)


def test_an_irregular_node_is_given_more_time() -> None:
    """Than one like clockwork, which is given some all the same."""
    rng, regular, irregular = random.Random(7), Arrivals(0.2, 0.0), Arrivals(0.2, 0.0)
    at = [0.0, 0.0]
    for _ in range(WINDOW):
        at[0] += 0.2
        at[1] += max(0.01, rng.gauss(0.2, 0.1))
        regular.beat(at[0])
        irregular.beat(at[1])
    assert 0.4 < regular.patience_s() < 0.6 < irregular.patience_s()
    assert irregular.phi(at[1] + irregular.patience_s()) == pytest.approx(8, rel=0.01)


def test_a_gap_that_is_not_the_nodes_own_is_not_learned() -> None:
    """What the brokers held up says nothing about the node."""
    arrivals = Arrivals(0.2, 0.0)
    before = arrivals.patience_s()
    arrivals.beat(5.0, learn=False)
    assert (arrivals.patience_s(), arrivals.last_s) == (before, 5.0)
    arrivals.beat(10.0)
    assert arrivals.patience_s() > before
