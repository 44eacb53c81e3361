"""How far the compactor has come in each partition, as the index says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headwater.config import Config
from headwater.errors import SchemaTooNew, UndecodableRecord
from headwater.kafka.clients import POINT_READS, SCANS
from headwater.kafka.reader import Reader
from headwater.log.records import parse
from headwater.log.snapshots import POSITION_KEY
from headwater.wire import codec

# A position is the last record of its transaction: it is looked for here first.
_NEAR_END = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """One partition of events: ``next_offset`` is the compactor's position, ``lag`` how many
    records are behind it, ``parked`` why it cannot go on, and the counts are records so far.
    """

    partition: int
    next_offset: int
    lag: int
    parked: str | None
    repeats: int = 0
    stale: int = 0
    conflicts: int = 0
    dead_letters: int = 0


def partition_states(config: Config, partitions: int) -> list[PartitionState]:
    """The state of each of the first so many partitions of events."""
    scans, points = Reader(config, SCANS), Reader(config, POINT_READS)
    try:
        return [_state(config, scans, points, number) for number in range(partitions)]
    finally:
        scans.close()
        points.close()


def _state(config: Config, scans: Reader, points: Reader, number: int) -> PartitionState:
    position = _position(config, scans, number) or {}
    first, end = points.range(config.topic("events"), number)
    next_offset = position.get("next_offset", first)
    lag = max(0, end - next_offset)
    return PartitionState(
        partition=number,
        next_offset=next_offset,
        lag=lag,
        parked=_parked(config, points, number, next_offset) if lag else None,
        **{
            name: position.get(name, 0)
            for name in ("repeats", "stale", "conflicts", "dead_letters")
        },
    )


def _position(config: Config, reader: Reader, number: int) -> dict[str, Any] | None:
    topic = config.topic("index")
    first, end = reader.range(topic, number)
    near = max(first, end - _NEAR_END)
    for start in (near, first) if near > first else (first,):
        found = None
        for batch in reader.scan(topic, number, start, end):
            for message in batch:
                if message.key() == POSITION_KEY and message.value() is not None:
                    found = message.value()
        if found is not None:
            return codec("Position").decode(found)
    return None


def _parked(config: Config, reader: Reader, number: int, offset: int) -> str | None:
    message = reader.get(config.topic("events"), number, offset)
    if message is None:
        return None
    try:
        parse(message.key(), message.value())
    except SchemaTooNew as error:
        return str(error)
    except UndecodableRecord:
        return None  # it goes to dead-letters, and the compactor goes on
    return None
