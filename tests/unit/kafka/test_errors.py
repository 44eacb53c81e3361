"""The boundary at which Kafka's errors become Headwater's."""

from __future__ import annotations

import re

import pytest
from confluent_kafka import KafkaError, KafkaException

from headwater.errors import (
    ConfigError,
    Fenced,
    HeadwaterError,
    RetryableError,
    TerminalError,
    Unavailable,
)
from headwater.kafka.errors import mapped, to_headwater

CODES = sorted(
    value
    for name, value in vars(KafkaError).items()
    if re.fullmatch(r"_?[A-Z][A-Z0-9_]+", name) and isinstance(value, int)
)


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_either_terminal_or_retryable(code: int) -> None:
    """Whatever librdkafka can say has a place in the tree, and the message keeps its name."""
    error = to_headwater(KafkaError(code), "trying")
    assert isinstance(error, TerminalError) != isinstance(error, RetryableError)
    assert type(error) is not HeadwaterError and "trying" in str(error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._FENCED, Fenced),
        (KafkaError._ALL_BROKERS_DOWN, Unavailable),
        (KafkaError._MSG_TIMED_OUT, Unavailable),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, ConfigError),
        (KafkaError._AUTHENTICATION, ConfigError),
    ],
)
def test_codes_that_callers_act_on(code: int, kind: type[HeadwaterError]) -> None:
    """What to do about it decides the type."""
    with pytest.raises(kind), mapped("trying"):
        raise KafkaException(KafkaError(code))
