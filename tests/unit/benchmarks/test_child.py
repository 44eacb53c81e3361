from typing import Any

import pytest

from benchmarks.child import SideFailed, run_side
from benchmarks.measure import Meter


def test_a_side_runs_in_a_process_of_its_own() -> None:
    """Parameters go in and the result comes back as JSON."""
    result = run_side("benchmarks.child:installed", packages=["pytest"])
    assert result == {"pytest": pytest.__version__}


def test_a_side_that_fails_is_told_with_its_output() -> None:
    """The traceback of the other process is in the message."""
    with pytest.raises(SideFailed, match="has no attribute 'nothing'"):
        run_side("benchmarks.measure:nothing")


def test_a_meter_counts_cpu_of_all_threads_and_wall_time() -> None:
    """Sleeping costs no CPU time, working does."""
    meter = Meter()
    meter.start()
    result: dict[str, Any] = meter.stop()
    assert 0 <= result["cpu_s"] < 1
    assert result["wall_s"] >= 0
