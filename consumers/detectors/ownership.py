"""Which of several detectors acts: the one to whom the group gives the partition."""

from __future__ import annotations

import logging

from confluent_kafka import Consumer, TopicPartition

from headwater.config import Config
from headwater.kafka import clients
from headwater.kafka.errors import is_retryable, mapped, to_headwater

log = logging.getLogger("headwater.detectors")


class Ownership:
    """This detector's share of the partitions of heartbeats, by membership in a group.

    Nothing is read through it: every detector follows everything, so that one that takes over has
    what it needs, and knows what its predecessor saw. For one thread, which must call ``poll``.
    """

    def __init__(self, config: Config) -> None:
        self.owned: set[int] = set()
        self._consumer: Consumer = clients.consumer(
            config,
            clients.FOLLOWING,
            group_id=f"{config.prefix}detectors",
            group_protocol="consumer",
            auto_offset_reset="latest",
        )
        with mapped("joining the detectors' group"):
            self._consumer.subscribe(
                [config.topic("heartbeats")],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )

    def poll(self) -> None:
        """Hear what has changed."""
        with mapped("staying in the detectors' group"):
            message = self._consumer.poll(0)
        error = None if message is None else message.error()
        if error is not None and error.fatal() and not is_retryable(error):
            raise to_headwater(error, "staying in the detectors' group")

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        ends = [TopicPartition(tp.topic, tp.partition, 0) for tp in places]
        consumer.incremental_assign(ends)
        consumer.pause(ends)
        self.owned |= {tp.partition for tp in places}
        log.info("responsible for partitions %s", sorted(self.owned))

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self.owned -= {tp.partition for tp in places}
        consumer.incremental_unassign(places)
        log.info("responsible for partitions %s", sorted(self.owned))

    def _on_lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self.owned -= {tp.partition for tp in places}
        consumer.incremental_unassign(places)
        log.warning("out of the group: responsible for partitions %s", sorted(self.owned))

    def close(self) -> None:
        """Leave the group: others take over at once."""
        self._consumer.close()
