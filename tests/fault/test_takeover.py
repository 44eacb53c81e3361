"""A compactor that dies inside an open transaction must not hide what follows from readers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clusters import Kafka, fresh_config, ours
from tests.support.fleet import Fleet, fleet_on
from tests.support.takeover import GIVE_UP_S, takeover_s

pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.timeout(240)]

BAR_S = 1.5
# On a machine that is busy with something else the profile's 500 ms sessions stretch. This is
# still half of what it takes while the dead one's transaction stays open.
BUSY_S = 3.0
# By then an instance has committed several times in each of its two partitions.
INSIDE = "compactor.before_commit:12"


@pytest.fixture
def fast(headwater_kafka_cluster: Kafka, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet on three brokers with the fast-failover profile."""
    cluster = ours(headwater_kafka_cluster)
    with fleet_on(cluster, fresh_config(cluster), tmp_path) as fleet:
        yield fleet


def flow_again_s(fleet: Fleet) -> float:
    """Seconds from one instance's death until the other's snapshots are read in its place."""
    seconds = takeover_s(
        fleet,
        lambda: fleet.compactor("victim", HEADWATER_CRASH_AT=INSIDE),
        lambda: fleet.compactor("heir"),
    )
    print(f"takeover: {seconds:.2f} s")
    return seconds


def test_snapshots_flow_again(fast: Fleet) -> None:
    """1,000 agents: soon after the death the other instance's snapshots are read."""
    seconds = flow_again_s(fast)
    assert seconds <= BUSY_S, f"{seconds:.2f} s\n{fast.tails()}"


@pytest.mark.long
def test_snapshots_flow_again_within_the_bar(fast: Fleet) -> None:
    """The same on a machine that does nothing else: within 1.5 s."""
    seconds = flow_again_s(fast)
    assert seconds <= BAR_S, f"{seconds:.2f} s\n{fast.tails()}"


@pytest.mark.long
def test_without_init_transactions_they_do_not(fast: Fleet) -> None:
    """The test above can fail: with the takeover's init_transactions switched off, the dead
    one's transaction stays open and its partitions stand still.
    """
    sabotage = {"HEADWATER_TEST_SABOTAGE": "no-init-transactions"}
    seconds = takeover_s(
        fast,
        lambda: fast.compactor("victim", HEADWATER_CRASH_AT=INSIDE, **sabotage),
        lambda: fast.compactor("heir", **sabotage),
    )
    assert seconds >= GIVE_UP_S
