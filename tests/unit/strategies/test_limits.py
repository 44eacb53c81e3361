"""How many recoveries may begin, which first, and which nodes are held back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.strategies.limits import Admission, HoldOff, Limits, Rate, Waiting
from headwater.fleet.records import Severity


def waiting(
    number: int, severity: Severity = Severity.HIGH, component: str | None = None
) -> Waiting:
    """A recovery that could begin."""
    return Waiting(component=component or f"node:{number}", severity=severity, number=number)


def test_the_more_severe_come_first_and_of_those_the_older() -> None:
    """Whatever the order in which they are named."""
    limits = Limits(fleet=Rate(burst=3, every_s=1.0))
    admission = Admission(limits, 0.0)
    some = [
        waiting(1, Severity.LOW),
        waiting(4, Severity.CRITICAL),
        waiting(3),
        waiting(2),
    ]
    assert [w.number for w in admission.admit(some, [], 0.0)] == [4, 2, 3]
    assert admission.admit([waiting(1)], [], 0.5) == []
    assert len(admission.admit([waiting(1)], [], 1.1)) == 1


def test_a_flood_of_lesser_failures_leaves_room_for_a_greater_one() -> None:
    """However many steps are late, the agents of a node that died are moved at once."""
    admission = Admission(Limits(), 0.0)
    flood = [waiting(n, Severity.MEDIUM) for n in range(200)]
    begun = [w.severity for w in admission.admit(flood, [], 0.0)]
    assert len(begun) == 16
    assert admission.admit(flood, begun, 100.0) == []
    assert len(admission.admit([waiting(900 + n) for n in range(20)], begun, 0.0)) == 20
    # Nor do those that end quickly use up the rate.
    admission = Admission(Limits(), 0.0)
    for _ in range(10):
        admission.admit(flood, [], 0.0)
    assert len(admission.admit([waiting(900 + n) for n in range(20)], [], 0.0)) == 20


def test_one_component_does_not_use_up_what_others_need() -> None:
    """A component that fails all the time is slowed down, and the others are not."""
    limits = Limits(component=Rate(burst=2, every_s=10.0))
    admission = Admission(limits, 0.0)
    assert len(admission.admit([waiting(1, component="node:x")], [], 0.0)) == 1
    assert len(admission.admit([waiting(2, component="node:x")], [], 0.0)) == 1
    assert admission.admit([waiting(3, component="node:x")], [], 1.0) == []
    assert len(admission.admit([waiting(3, component="node:x"), waiting(4)], [], 1.0)) == 1
    assert len(admission.admit([waiting(3, component="node:x")], [], 10.0)) == 1


def test_so_many_are_under_way_at_most() -> None:
    """What runs counts, too."""
    admission = Admission(Limits(at_once=3), 0.0)
    assert len(admission.admit([waiting(n) for n in range(9)], [Severity.HIGH], 0.0)) == 2


@given(st.lists(st.floats(0, 3), max_size=60), st.integers(1, 5), st.floats(0.1, 3))
def test_no_more_begin_than_the_rate_allows(gaps: list[float], burst: int, every_s: float) -> None:
    """In any stretch of time: the burst, and one for each ``every_s``."""
    limits = Limits(fleet=Rate(burst=burst, every_s=every_s), at_once=1000)
    admission, now, begun = Admission(limits, 0.0), 0.0, []
    for number, gap in enumerate(gaps):
        now += gap
        begun += [now for _ in admission.admit([waiting(number), waiting(-number - 1)], [], now)]
    for at, first in enumerate(begun):
        for count, last in enumerate(begun[at:], start=1):
            assert count <= burst + (last - first) / every_s + 1e-6


def test_a_node_that_fails_again_and_again_is_held_back_ever_longer() -> None:
    """Not for its first failure; and not for what was long ago."""
    hold = HoldOff(first_s=10.0, longest_s=60.0, window_s=3600.0)
    minute = 60_000
    assert hold.held_s([0], 0) == 0.0
    assert hold.held_s([0, minute], minute) == 10.0
    assert hold.held_s([0, minute], minute + 4000) == 6.0
    assert hold.held_s([0, minute], minute + 10_000) == 0.0
    assert hold.held_s([0, minute, 2 * minute], 2 * minute) == 20.0
    assert hold.held_s([n * minute for n in range(30)], 29 * minute) == 60.0
    assert hold.held_s([0, 70 * minute], 70 * minute) == 0.0


@given(st.lists(st.integers(0, 10**7), max_size=20), st.integers(0, 10**7))
def test_a_further_failure_never_shortens_the_wait(times: list[int], now: int) -> None:
    """A node does not get well by failing."""
    hold = HoldOff()
    before = hold.held_s(times, now)
    assert 0.0 <= before <= hold.longest_s
    assert hold.held_s([*times, now], now) >= before
