"""What the command line exits with."""

from __future__ import annotations

from enum import IntEnum

from headwater.errors import (
    AgentNotFound,
    ConfigError,
    HeadwaterError,
    PointNotFound,
    TopicMismatch,
    Unavailable,
)


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    AUTHENTICATION = 4
    TIMEOUT = 5
    INTERRUPTED = 130


class NothingYet(TopicMismatch):
    """The cluster holds nothing of Headwater's: no agent was ever published there."""


class AuthenticationRefused(ConfigError):
    """The brokers refuse the credentials, or the connection's security."""


_REFUSED = frozenset(
    {
        "_AUTHENTICATION",
        "_SSL",
        "SASL_AUTHENTICATION_FAILED",
        "UNSUPPORTED_SASL_MECHANISM",
        "ILLEGAL_SASL_STATE",
        "TOPIC_AUTHORIZATION_FAILED",
        "GROUP_AUTHORIZATION_FAILED",
        "CLUSTER_AUTHORIZATION_FAILED",
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    }
)


def is_refusal(kafka_error: object) -> bool:
    """Whether one of Kafka's errors is about credentials, security or access rights."""
    name = getattr(kafka_error, "name", None)
    return callable(name) and name() in _REFUSED


def exit_code(error: HeadwaterError) -> Exit:
    """The exit code for an error that ended a command."""
    cause = error.__cause__
    if isinstance(error, AuthenticationRefused) or (
        cause is not None and any(is_refusal(each) for each in cause.args)
    ):
        return Exit.AUTHENTICATION
    if isinstance(error, AgentNotFound | PointNotFound | NothingYet):
        return Exit.NOT_FOUND
    if isinstance(error, ConfigError):
        return Exit.USAGE
    if isinstance(error, Unavailable):
        return Exit.TIMEOUT
    return Exit.FAILED
