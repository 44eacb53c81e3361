"""Follows the snapshots that are being written, and checks each: broken ones are found at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from headwater.kafka import clients
from headwater.kafka.errors import is_retryable, mapped, to_headwater
from headwater.log.sealing import is_chunk_key
from headwater.recovery import Recovery

from .corruption import agent_of, complaint

log = logging.getLogger("headwater.detectors")

_BATCH = 200
_SHARE = 0.1
_SAVED_S = 2.0
_ENDS = frozenset({KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET})


class FreshSnapshots:
    """Checks what is written to some partitions of snapshots from now on. For one thread.

    It takes no more than a tenth of the time: what there is no time for is passed over and counted
    in ``skipped``, and left to the audit, which comes round to every agent.
    """

    def __init__(self, recovery: Recovery) -> None:
        self._recovery = recovery
        self._topic = recovery.config.topic("snapshots")
        self._consumer: Consumer = clients.consumer(recovery.config, clients.FOLLOWING)
        self._partitions: frozenset[int] = frozenset()
        self._budget_s = _SAVED_S
        self._paid_s = time.monotonic()
        self.checked = 0
        self.skipped = 0

    def follow(self, partitions: Iterable[int]) -> None:
        """Follow these partitions, from their ends if that is news."""
        wanted = frozenset(partitions)
        if wanted == self._partitions:
            return
        self._partitions = wanted
        with self._recovery.points.lend() as reader:
            places = [
                TopicPartition(self._topic, p, reader.range(self._topic, p)[1])
                for p in sorted(wanted)
            ]
        with mapped("following snapshots"):
            self._consumer.assign(places)

    def read(self, timeout_s: float) -> list[tuple[str, str, str]]:
        """Agent, snapshot and complaint, for each broken one among those that have come."""
        if not self._partitions:
            time.sleep(timeout_s)
            return []
        with mapped("following snapshots"):
            first = self._consumer.poll(timeout_s)
            if first is None:
                return []
            rest = self._consumer.consume(_BATCH, 0) if first.error() is None else []
        started = time.monotonic()
        self._budget_s = min(_SAVED_S, self._budget_s + _SHARE * (started - self._paid_s))
        broken = [found for m in (first, *rest) if (found := self._check(m)) is not None]
        self._paid_s = time.monotonic()
        self._budget_s -= self._paid_s - started
        return broken

    def _check(self, message: Message) -> tuple[str, str, str] | None:
        error, key, value = message.error(), message.key(), message.value()
        if error is not None:
            if not is_retryable(error) and error.code() not in _ENDS:
                raise to_headwater(error, "following snapshots")
            return None
        if key is None or value is None or key.startswith(b"!") or is_chunk_key(key):
            return None
        if self._budget_s <= 0:
            self.skipped += 1
            return None
        self.checked += 1
        partition = message.partition() or 0
        why = complaint(value, lambda offset: self._recovery.fetch(partition, offset))
        return (agent_of(key), key.decode(errors="replace"), why) if why else None

    def close(self) -> None:
        """Stop following."""
        self._consumer.close()
