"""Where partitions begin and end, as their leaders tell it, whether or not all is decided there."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from headwater.kafka.errors import mapped

EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]


def list_offsets(
    admin: AdminClient, topic: str, partitions: Iterable[int], spec: OffsetSpec, timeout_s: float
) -> dict[int, int]:
    """An offset of each partition, by its number; -1 for a time that no record has."""
    places = {TopicPartition(topic, p): spec for p in partitions}
    with mapped(f"asking for offsets of {topic}"):
        found = admin.list_offsets(
            places, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=timeout_s
        )
        return {place.partition: future.result().offset for place, future in found.items()}
