import json

import pytest

from benchmarks.measure import latencies_ms, per_event, percentile, spread
from benchmarks.report import Report, Target, emit


def make_report(**targets: Target) -> Report:
    return Report(name="some", question="how much?", quick=True, targets=targets)


def test_figures_are_medians_at_the_top_level_and_every_round_is_kept() -> None:
    """The JSON object names each figure at its top level and holds each round's value."""
    report = make_report(ratio=Target(at_most=2.0))
    for value in (1.0, 9.0, 1.5):
        report.add(ratio=value)
    found = report.to_json()
    assert found["ratio"] == 1.5
    assert found["spread"]["ratio"] == {
        "median": 1.5,
        "min": 1.0,
        "max": 9.0,
        "rounds": [1.0, 9.0, 1.5],
    }
    assert found["targets"] == {"ratio": {"bar": "<= 2", "met": True}}


def test_a_figure_that_was_not_measured_is_missed() -> None:
    """A bar without a figure is never met."""
    found = make_report(ratio=Target(at_most=2.0)).to_json()
    assert found["ratio"] is None
    assert found["targets"]["ratio"]["met"] is False


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        (Target(at_most=2.0), 2.0, True),
        (Target(at_most=2.0), 2.01, False),
        (Target(at_least=5.0), 5.0, True),
        (Target(at_least=5.0), 4.99, False),
    ],
)
def test_a_bar_is_met_at_its_value_and_not_beyond(target: Target, value: float, met: bool) -> None:
    """Both kinds of bar include their own value."""
    assert target.met(value) is met


def test_peers_come_apart_from_headwater_with_medians_over_rounds() -> None:
    """Each side's own figures are in the object, ours under our name."""
    report = make_report()
    for cpu_us in (3.0, 1.0, 2.0):
        report.add_side("headwater", {"cpu_us": cpu_us})
        report.add_side("raw", {"cpu_us": cpu_us * 10, "ack": {"p50_ms": 1}})
    found = report.to_json()
    assert found["headwater"]["headwater"]["median"] == {"cpu_us": 2.0}
    assert found["peers"]["raw"]["median"] == {"cpu_us": 20.0}
    assert len(found["peers"]["raw"]["rounds"]) == 3


def test_json_is_one_object_on_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads stdout's last line has everything."""
    emit(make_report(), as_json=True)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["bench"] == "some"


def test_a_table_says_which_bars_are_missed(capsys: pytest.CaptureFixture[str]) -> None:
    """People see the verdict beside each figure."""
    report = make_report(ratio=Target(at_most=2.0))
    report.add(ratio=3.0)
    report.add_side("raw", {"cpu_us": 1.0})
    emit(report, as_json=False)
    shown = capsys.readouterr().out
    assert "NO" in shown
    assert "raw" in shown


def test_percentiles_are_values_that_occurred() -> None:
    """The smallest value that the given share does not exceed."""
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, share) for share in (0.0, 0.2, 0.5, 0.99, 1.0)] == [1, 1, 3, 5, 5]
    assert latencies_ms([0.001, 0.003, 0.002])["p50_ms"] == 2.0


def test_an_event_costs_its_share() -> None:
    """CPU an event in microseconds, and events a second."""
    found = per_event({"cpu_s": 2.0, "wall_s": 4.0}, 1_000_000)
    assert (found["cpu_us"], found["events_per_s"]) == (2.0, 250_000.0)
    assert spread([2.0])["median"] == 2.0
