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
# By then an instance has committed several times in each of its two partitions.
INSIDE = "compactor.before_commit:12"


@pytest.fixture
def fast(headwater_kafka_cluster: Kafka, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet on three brokers with the fast-failover profile."""
    cluster = ours(headwater_kafka_cluster)
    with fleet_on(cluster, fresh_config(cluster), tmp_path) as fleet:
        yield fleet


def test_snapshots_flow_again(fast: Fleet) -> None:
    """1,000 agents: within 1.5 s of the death the other instance's snapshots are read."""
    seconds = takeover_s(
        fast,
        lambda: fast.compactor("victim", HEADWATER_CRASH_AT=INSIDE),
        lambda: fast.compactor("heir"),
    )
    print(f"takeover: {seconds:.2f} s")
    assert seconds <= BAR_S, f"{seconds:.2f} s\n{fast.tails()}"


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
