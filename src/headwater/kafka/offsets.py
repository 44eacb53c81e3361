"""Where partitions begin and end, and moving where they begin: what only their leaders can tell.

An admin client asks whom it last knew as a leader, for as long as it was told to wait, and hands
out whatever comes back; it does not learn from that. So leaders are looked up each time, first
attempts are short, and partitions whose leader was none are asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from math import inf
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from headwater.kafka.errors import is_retryable, mapped

EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_FIRST_S = 1.0
_AGAIN_S = 0.05

_Answers = Mapping[TopicPartition, Future[Any]]
_Ask = Callable[[list[TopicPartition], float], _Answers]


def list_offsets(
    admin: AdminClient, topic: str, partitions: Iterable[int], spec: OffsetSpec, timeout_s: float
) -> dict[int, int]:
    """An offset of each partition, by its number; -1 for a time that no record has."""
    places = [TopicPartition(topic, p) for p in partitions]
    with mapped(f"asking for offsets of {topic}"):
        found, error = _of_leaders(admin, _listing(admin, spec), places, timeout_s)
        if error is not None:
            raise error
    return {partition: answer.offset for partition, answer in found.items()}


def told_offsets(
    admin: AdminClient, topic: str, partitions: Iterable[int], spec: OffsetSpec, timeout_s: float
) -> dict[int, int]:
    """The same of those partitions whose leaders tell in time."""
    places = [TopicPartition(topic, p) for p in partitions]
    found, _ = _of_leaders(admin, _listing(admin, spec), places, timeout_s)
    return {partition: answer.offset for partition, answer in found.items()}


def delete_before(
    admin: AdminClient, topic: str, offsets: Mapping[int, int], timeout_s: float
) -> None:
    """Delete the records of each partition that are below its offset."""

    def ask(places: list[TopicPartition], left_s: float) -> _Answers:
        return admin.delete_records(places, request_timeout=left_s)

    places = [TopicPartition(topic, p, offset) for p, offset in offsets.items()]
    with mapped(f"deleting old records of {topic}"):
        _, error = _of_leaders(admin, ask, places, timeout_s)
        if error is not None:
            raise error


def _listing(admin: AdminClient, spec: OffsetSpec) -> _Ask:
    def ask(places: list[TopicPartition], left_s: float) -> _Answers:
        return admin.list_offsets(
            dict.fromkeys(places, spec),
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=left_s,
        )

    return ask


def _of_leaders(
    admin: AdminClient, ask: _Ask, places: list[TopicPartition], timeout_s: float
) -> tuple[dict[int, Any], KafkaException | None]:
    """Each partition's answer; and an error that is final, or the last, where one is missing."""
    began = time.monotonic()
    attempt_s = _FIRST_S
    found: dict[int, Any] = {}
    left = {place.partition: place for place in places}
    failed: KafkaException | None = None
    while left:
        # Never below 0, which would be for ever.
        attempt_s = max(_AGAIN_S, min(attempt_s, began + timeout_s - time.monotonic()))
        try:
            _learn_leaders(admin, places[0].topic, attempt_s)
            left_s = max(_AGAIN_S, min(attempt_s, began + timeout_s - time.monotonic()))
            answers = ask(list(left.values()), left_s)
        except KafkaException as error:
            answers, failed = {}, error
        for place, answer in answers.items():
            try:
                found[place.partition] = answer.result()
            except KafkaException as error:
                failed = error
            else:
                del left[place.partition]
        if failed is not None:
            patience_s = min(timeout_s, _patience_s(failed.args[0]))
            if not left or time.monotonic() + _AGAIN_S >= began + patience_s:
                break
            time.sleep(_AGAIN_S)
            attempt_s *= 2
    return found, failed if left else None


def _learn_leaders(admin: AdminClient, topic: str, timeout_s: float) -> None:
    """Replace what the client knows of a topic's leaders."""
    error = admin.list_topics(topic, timeout=timeout_s).topics[topic].error
    if error is not None:
        raise KafkaException(error)


def _patience_s(error: KafkaError) -> float:
    """For how long an error may be one that passes. A broker may not have heard of a topic that
    others know; where nobody leads, the client says that there is no entry.
    """
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return _FIRST_S
    return inf if error.code() == KafkaError._NOENT or is_retryable(error) else 0.0
