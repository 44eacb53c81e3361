"""Fixtures that give tests a real Kafka; nothing is imported until one is used.

In a ``conftest.py``: ``pytest_plugins = ["headwater.local.pytest_plugin"]``. With
``HEADWATER_BOOTSTRAP_SERVERS`` set, tests get that cluster, whose ``kill`` and so on are None.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from headwater.local import ExistingKafka, LocalKafka


@pytest.fixture(scope="session")
def headwater_kafka() -> Iterator[LocalKafka | ExistingKafka]:
    """One broker with temporary data, shared by the whole session."""
    from headwater.local import kafka_or_existing

    with kafka_or_existing(1) as kafka:
        yield kafka


@pytest.fixture(scope="module")
def headwater_kafka_cluster() -> Iterator[LocalKafka | ExistingKafka]:
    """Three brokers that fail over fast; a module's own, so that its kills stay there."""
    from headwater.local import kafka_or_existing

    with kafka_or_existing(3) as kafka:
        yield kafka
