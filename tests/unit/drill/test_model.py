"""Reports of drills: what misses a target, and that they are read back as they were."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headwater.cli.drill import _KINDS, _REAL
from headwater.config import PROFILES
from headwater.drill.faults import FAULTS
from headwater.drill.model import REAL, TYPES, Report, Targets, default_targets, judge
from headwater.drill.records import summary

GOOD = Report(
    drill_id="d", kind="node-failure", shadow=True, node_id="n", agents=3, started_at=1,
    targets=Targets(detect_ms=1000, recover_ms=2000), detected_ms=900.0, recovered_ms=1900.0,
    changes=40, failure_ids=("f",),
)  # fmt: skip


def test_what_meets_every_target_passes() -> None:
    """No problem is found, and the summary says what was measured."""
    assert judge(GOOD) == ()
    assert GOOD.passed
    assert "detected after 900 ms, recovered after 1900 ms, of 40 changes none" in summary(GOOD)


@pytest.mark.parametrize(
    ("missed", "said"),
    [
        ({"detected_ms": None}, "no NODE_FAILURE was detected"),
        ({"detected_ms": 1001.0}, "detection took 1001 ms, more than 1000"),
        ({"recovered_ms": None}, "not every agent was at work again"),
        ({"recovered_ms": 2500.0}, "recovery took 2500 ms"),
        ({"lost": 2}, "2 acknowledged changes were lost"),
        ({"doubled": 1}, "1 changes were applied twice"),
    ],
)
def test_each_miss_is_a_sentence(missed: dict[str, object], said: str) -> None:
    """Whatever misses its target makes the drill fail, and is named."""
    problems = judge(replace(GOOD, **missed))  # type: ignore[arg-type]
    assert len(problems) == 1
    assert said in problems[0]
    report = replace(GOOD, problems=problems)
    assert not report.passed
    assert said in summary(report)


def test_steps_that_are_repeated_are_no_miss() -> None:
    """A step may be begun again after a death; that is counted, and no more."""
    assert judge(replace(GOOD, repeated=5)) == ()


def test_reports_are_read_back() -> None:
    """From JSON comes what went in; from anything else, nothing."""
    assert Report.from_json(GOOD.to_json()) == GOOD
    assert Report.from_json(GOOD.to_json() | {"of a newer release": 1}) == GOOD
    assert Report.from_json({"kind": "node-failure"}) is None
    assert Report.from_json(GOOD.to_json() | {"targets": None}) is None


@pytest.mark.parametrize("profile", PROFILES)
def test_every_drill_has_its_parts(profile: str) -> None:
    """A failure type, a fault, a command and targets, detection before recovery."""
    assert TYPES.keys() == FAULTS.keys() == _KINDS.keys()
    assert set(REAL) == set(_REAL)
    for kind in TYPES:
        targets = default_targets(kind, PROFILES[profile].lease_ms)
        assert 0 < targets.detect_ms < targets.recover_ms
