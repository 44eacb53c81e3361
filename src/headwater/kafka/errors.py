"""Maps librdkafka's errors to Headwater's: the only boundary at which that happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException

from headwater.errors import (
    ConfigError,
    CorruptData,
    Fenced,
    HeadwaterError,
    RetryableError,
    TerminalError,
    TooLarge,
    TopicMismatch,
    Unavailable,
)

_FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.FENCED_INSTANCE_ID,
    }
)
_TOPIC = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
    }
)
_SETTINGS = frozenset(
    {
        KafkaError._INVALID_ARG,
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.INVALID_CONFIG,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_PARTITIONS,
    }
)
# The bytes of a record are not those that its checksum was made of.
_CORRUPT = frozenset({KafkaError._BAD_MSG, KafkaError.INVALID_MSG})
_UNAVAILABLE = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._FAIL,
        KafkaError._RESOLVE,
        # What asking a broker ends in when it is found to be gone from the cluster meanwhile.
        KafkaError._DESTROY_BROKER,
        KafkaError._UNKNOWN_BROKER,
        KafkaError._NODE_UPDATE,
        KafkaError._OUTDATED,
        KafkaError._RETRY,
        KafkaError._WAIT_CACHE,
        KafkaError._WAIT_COORD,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._QUEUE_FULL,
        KafkaError._PURGE_QUEUE,
        KafkaError._PURGE_INFLIGHT,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.CONCURRENT_TRANSACTIONS,
    }
)


def to_headwater(error: KafkaError, doing: str) -> HeadwaterError:
    """The Headwater error for ``error``, met while ``doing`` something.

    A code that no table names is retryable if librdkafka says so, else terminal: nothing is
    swallowed, and nothing unknown is tried again blindly.
    """
    code = error.code()
    text = f"{doing}: {error.str()} [{error.name()}]"
    if code in _FENCED:
        return Fenced(f"{text}; another process has taken over")
    if code == KafkaError.MSG_SIZE_TOO_LARGE:
        return TooLarge(f"{text}: a message", 0, 0)
    if code in _TOPIC:
        return TopicMismatch(f"{text}; run `headwater doctor`")
    if code in _SETTINGS:
        return ConfigError(f"{text}; check the broker's address, credentials and access rights")
    if code in _CORRUPT:
        return CorruptData(f"{text}; the log itself is damaged there", "crc")
    if code in _UNAVAILABLE or error.retriable():
        return Unavailable(f"{text}; the call can be made again")
    return TerminalError(text)


@contextmanager
def mapped(doing: str) -> Iterator[None]:
    """Raises Kafka's errors from the block as Headwater's."""
    try:
        yield
    except KafkaException as error:
        raise to_headwater(error.args[0], doing) from error


def is_retryable(error: KafkaError) -> bool:
    """Whether the same call may succeed later."""
    return isinstance(to_headwater(error, ""), RetryableError)
