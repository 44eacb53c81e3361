"""A three-broker cluster, and a fleet with its own topics for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.local import LocalKafka
from tests.support.clusters import fresh_config
from tests.support.fleet import Fleet, fleet_on

# Shared processors starve three brokers, and what fails over in 0.4 s then does so without cause.
# How fast it can be is for test_takeover.py; everything else only has to be right.
CALM = {
    "broker.session.timeout.ms": "2000",
    "controller.quorum.fetch.timeout.ms": "2000",
    "controller.quorum.request.timeout.ms": "2000",
    "group.consumer.session.timeout.ms": "1500",
    "replica.lag.time.max.ms": "3000",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalKafka]:
    """Three brokers that are ours to kill."""
    with LocalKafka(3, properties=CALM) as kafka:
        yield kafka


@pytest.fixture
def whole_again(cluster: LocalKafka) -> Iterator[None]:
    """Whatever a test left dead is started again, so that the next one begins with three."""
    yield
    for node in cluster.status.nodes:
        if node.pid is None:
            cluster.start_node(node.id)


@pytest.fixture
def fleet(cluster: LocalKafka, whole_again: None, tmp_path: Path) -> Iterator[Fleet]:
    """Agents, compactors and their topics, new for each test."""
    with fleet_on(cluster, fresh_config(cluster), tmp_path) as fleet:
        yield fleet
