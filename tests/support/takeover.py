"""How long snapshots stand still when a compactor dies inside an open transaction."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import ConsumerGroupState, KafkaException, Message, TopicPartition

from headwater.kafka import clients
from headwater.kafka.errors import is_retryable
from headwater.log.sealing import decode_snapshot
from tests.support.fleet import Fleet
from tests.support.flood import Flood
from tests.support.processes import Program, eventually

AGENTS = 1000
GIVE_UP_S = 6.0


def takeover_s(fleet: Fleet, victim: Callable[[], Program], heir: Callable[[], Program]) -> float:
    """Seconds from the victim's death, in the middle of a commit, until read_committed readers
    see new snapshots in every partition that was its own; ``GIVE_UP_S`` if that takes so long.

    Two instances share the partitions; the victim dies by its own crash point, with 1,000 agents
    being changed all the while.
    """
    dying, other = victim(), heir()
    owned: set[int] = set()

    def shared() -> bool:
        owned.clear()
        owned.update(_owned(fleet, dying.name))
        return 0 < len(owned) < fleet.partitions

    eventually(shared, 60, "both instances have partitions", step_s=0.1)
    # Only now is there anything to commit, and so to die of.
    with Flood(fleet.config, fleet.partitions, AGENTS, 0.5):
        reader = Snapshots(fleet, owned, other.name)
        try:
            while dying.running:
                reader.poll()
            died = time.monotonic()
            # Where the group took it for dead before that, nothing can be measured.
            assert "lost:" not in dying.log.read_text(), "this machine is too busy for the profile"
            return reader.flows_again_s(died)
        finally:
            reader.close()


def _owned(fleet: Fleet, node_id: str) -> set[int]:
    group = f"{fleet.config.prefix}compactor"
    admin = clients.admin(fleet.config)
    try:
        description = admin.describe_consumer_groups([group])[group].result(20)
    except KafkaException as error:
        if not is_retryable(error.args[0]):
            raise
        return set()
    if description.state != ConsumerGroupState.STABLE:
        return set()
    return {
        place.partition
        for member in description.members
        if member.client_id == f"headwater-{node_id}"
        for place in member.assignment.topic_partitions
    }


class Snapshots:
    """A read_committed reader of what one instance writes to some partitions of snapshots."""

    def __init__(self, fleet: Fleet, partitions: set[int], writer: str) -> None:
        self._writer = writer
        topic = fleet.config.topic("snapshots")
        self._partitions = partitions
        self._consumer = clients.consumer(fleet.config, clients.FOLLOWING, fetch_wait_max_ms=20)
        places = []
        for partition in partitions:
            place = TopicPartition(topic, partition)
            place.offset = self._consumer.get_watermark_offsets(place, timeout=20)[1]
            places.append(place)
        self._consumer.assign(places)

    def poll(self) -> set[int]:
        """The partitions in which the writer's snapshots have come since."""
        first = self._consumer.poll(0.005)
        if first is None:
            return set()
        batch = [first, *self._consumer.consume(1000, 0)]
        return {m.partition() or 0 for m in batch if m.error() is None and self._is_writers(m)}

    def _is_writers(self, message: Message) -> bool:
        value = message.value()
        return value is not None and decode_snapshot(value).node_id == self._writer

    def flows_again_s(self, died: float) -> float:
        """Seconds since ``died`` until the writer's snapshots have come in each partition."""
        missing = set(self._partitions)
        while missing and time.monotonic() < died + GIVE_UP_S:
            missing -= self.poll()
        return time.monotonic() - died

    def close(self) -> None:
        """End reading."""
        self._consumer.close()
