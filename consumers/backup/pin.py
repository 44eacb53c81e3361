"""Tells retention how far the backup has come: what is not copied yet must stay."""

from __future__ import annotations

from confluent_kafka import KafkaError, Message, Producer

from headwater.config import Config
from headwater.errors import Unavailable
from headwater.kafka import clients
from headwater.kafka.errors import mapped, to_headwater

from ..retention.model import BackupPin
from ..retention.pins import BACKUP_KEY, encode_pin


class Pins:
    """Writes the backup's position beside what it protects, in partitions of ``checkpoints``."""

    def __init__(self, config: Config) -> None:
        self._topic = config.topic("checkpoints")
        self._timeout_s = config.send_timeout.total_seconds()
        self._producer: Producer = clients.producer(config)

    def write(self, partition: int, pin: BackupPin | None) -> None:
        """Write it, and wait until it is there; None gives the backup up."""
        errors: list[KafkaError | None] = []

        def written(error: KafkaError | None, _: Message) -> None:
            errors.append(error)

        with mapped(f"writing to {self._topic}"):
            self._producer.produce(
                self._topic,
                None if pin is None else encode_pin(pin),
                BACKUP_KEY,
                partition,
                on_delivery=written,
            )
            self._producer.flush(self._timeout_s)
        if not errors:
            raise Unavailable(f"{self._topic}[{partition}]: no answer in {self._timeout_s:g} s")
        if errors[0] is not None:
            raise to_headwater(errors[0], f"writing to {self._topic}")

    def close(self) -> None:
        """Give the connections back."""
        self._producer.close()
