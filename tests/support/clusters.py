"""Connections to a test's Kafka, each test module under a prefix of its own."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from headwater import Config
from headwater.local import ExistingKafka, LocalKafka

Kafka = LocalKafka | ExistingKafka


def fresh_config(kafka: Kafka, node_id: str = "here", **settings: Any) -> Config:
    """Settings for topics that nobody else uses, with the fast profile and 4 partitions."""
    defaults: dict[str, Any] = {"profile": "fast", "partitions": 4}
    return Config(
        bootstrap_servers=kafka.bootstrap_servers,
        prefix=f"test-{secrets.token_hex(4)}.",
        node_id=node_id,
        **(defaults | settings),
    )


def ours(kafka: Kafka) -> LocalKafka:
    """The cluster, if its brokers are ours to kill; else the test is skipped."""
    if not isinstance(kafka, LocalKafka):
        pytest.skip("the brokers of HEADWATER_BOOTSTRAP_SERVERS are not ours to kill or pause")
    return kafka
