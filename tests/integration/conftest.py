"""Connections to one broker, for tests of sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import headwater
from headwater import Client, Config
from tests.support.clusters import Kafka, fresh_config


@pytest.fixture(scope="module")
def config(headwater_kafka: Kafka) -> Config:
    """Settings of this module's own topics."""
    return fresh_config(headwater_kafka)


@pytest.fixture(scope="module")
def hw(config: Config) -> Iterator[Client]:
    """A connection that the module's tests share."""
    with headwater.connect(config) as client:
        yield client


@pytest.fixture(scope="module")
def other(hw: Client, config: Config) -> Iterator[Client]:
    """A connection of another node."""
    with headwater.connect(config.with_(node_id="there")) as client:
        yield client
