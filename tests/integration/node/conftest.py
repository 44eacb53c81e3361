"""A node in a process of its own, for the tests of one module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import headwater
from headwater import Client, Config
from headwater.topics import connect_fleet
from tests.support.clusters import Kafka, fresh_config
from tests.support.place import Place
from tests.support.processes import programs


@pytest.fixture(scope="module")
def config(headwater_kafka: Kafka) -> Config:
    """Settings of the nodes; the default profile, for machines that are busy."""
    config = fresh_config(headwater_kafka, profile="default")
    connect_fleet(config)
    return config


@pytest.fixture(scope="module")
def place(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One node, ``n1``, that all tests of the module share."""
    with programs(config, tmp_path_factory.mktemp("nodes")) as started:
        made = Place(config, started)
        made.node("n1")
        yield made
        made.close()


@pytest.fixture(scope="module")
def reader(config: Config) -> Iterator[Client]:
    """A connection that looks on."""
    with headwater.connect(config) as client:
        yield client
