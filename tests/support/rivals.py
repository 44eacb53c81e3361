"""Writes records behind everybody's back, as a broken or hostile client would."""

from __future__ import annotations

from confluent_kafka import Message

from headwater import Config
from headwater.kafka import clients
from headwater.log.chain import partition_of
from headwater.log.fold import Head
from headwater.log.records import Encoder

NONCE = b"rival---rival---"


def inject(config: Config, partitions: int, key: str, *values: bytes) -> list[int]:
    """Append raw values to an agent's partition; their offsets."""
    producer = clients.producer(config)
    offsets: list[int] = []

    def delivered(error: object, message: Message) -> None:
        assert error is None, error
        offsets.append(message.offset() or 0)

    for value in values:
        producer.produce(
            config.topic("events"),
            value,
            key.encode(),
            partition_of(key.encode(), partitions),
            delivered,
        )
    producer.flush(30)
    assert len(offsets) == len(values)
    return offsets


def encoder(head: Head, *, epoch: int | None = None, nonce: bytes | None = NONCE) -> Encoder:
    """An encoder for records that pretend to come from a rival of the agent's owner."""
    return Encoder(
        agent_id=head.agent_id,
        epoch=head.epoch if epoch is None else epoch,
        nonce=nonce,
        session_id="rival",
        request_id=None,
        node_id="rival",
        incarnation=NONCE,
        lease_ms=600,
    )
