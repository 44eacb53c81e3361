"""The handler of failures: one instance of those that share the partitions of ``recovery``."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from headwater.client import Client
from headwater.clock import suspended_clock, wall_ms
from headwater.config import Config
from headwater.fleet.feed import Sender, decoded, partitions_of
from headwater.fleet.records import (
    Command,
    CommandKind,
    Escalation,
    FailureEvent,
    FailureType,
    RecoveryResult,
    Severity,
)
from headwater.kafka import clients
from headwater.kafka.errors import is_retryable, mapped, to_headwater
from headwater.kafka.reader import Reader
from headwater.topics import connect_fleet

from .context import STALL_S, Shared
from .escalate import Escalator
from .journal import first_result
from .limits import Admission, Limits
from .notify import LogNotifier, Notifier
from .partition import Making, Partition
from .run import Patience
from .strategy import Strategy, check_names
from .world import World

log = logging.getLogger("headwater.strategies")

_POLL_S = 0.05
_COMMIT_S = 1.0
_END_S = 3.0
_TUNING = clients.FOLLOWING | {"fetch.wait.max.ms": 250}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How failures are handled."""

    limits: Limits = field(default_factory=Limits)
    patience: Patience = field(default_factory=Patience)
    notifiers: Sequence[Notifier] = field(default_factory=lambda: [LogNotifier()])


class Handler:
    """Takes failures from the recovery topic, and runs the strategy for each.

    ``run`` blocks until its ``stop`` event is set.
    """

    def __init__(
        self, config: Config, strategies: Iterable[Strategy], settings: Settings | None = None
    ) -> None:
        self._config = config
        self._strategies = list(strategies)
        check_names(self._strategies)
        self._settings = settings or Settings()
        self._topic = config.topic("recovery")
        self._live: dict[int, Partition] = {}
        self._news: queue.SimpleQueue[tuple[int, RecoveryResult] | Escalation] = queue.SimpleQueue()
        self._committed: dict[int, int] = {}
        self._commit_at = 0.0
        self.ready = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Handle failures until ``stop`` is set; what is under way then is left to the others.

        Raises Headwater's errors for what no retry can mend: settings, topics, access rights.
        """
        connect_fleet(self._config)
        self._sender = Sender(self._config)
        self._world = World(self._config)
        self._shared = Shared(self._config, self._sender, self._world, lambda: Client(self._config))
        self._reader = Reader(self._config, clients.POINT_READS)
        escalator = Escalator(
            self._sender, self._world, self._settings.notifiers, self._config.node_id
        )
        self._making = Making(
            shared=self._shared,
            strategies=self._strategies,
            escalator=escalator,
            patience=self._settings.patience,
        )
        self._escalator = escalator
        self._admission = Admission(self._settings.limits, suspended_clock())
        self._world.on_outcome = lambda partition, result: self._news.put((partition, result))
        self._world.on_escalation = self._news.put
        self._consumer = self._make_consumer()
        try:
            self._warm_up()
            self._world.start()
            self._consumer.subscribe(
                [self._topic],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            log.info(
                "strategies %s started: %s",
                self._config.node_id, ", ".join(each.name for each in self._strategies),
            )  # fmt: skip
            while not stop.is_set():
                self._once()
        finally:
            self._shut_down()

    def _warm_up(self) -> None:
        """Do once what takes long the first time only: a failure must not wait for it."""
        self._sender.warm("outcomes", "audit", "commands", "escalations", "routes")
        now = wall_ms()
        for_nothing = FailureEvent(
            failure_id="",
            type=FailureType.NODE_FAILURE,
            severity=Severity.LOW,
            component="",
            description="",
            first_symptom_at=now,
            detected_at=now,
            detected_by="",
        )
        first_result(for_nothing, now).encode()
        Command(command_id="", node_id="", kind=CommandKind.START, issued_at=now).encode()

    def _make_consumer(self) -> Consumer:
        return clients.consumer(
            self._config,
            _TUNING,
            group_id=f"{self._config.prefix}strategies",
            group_protocol="consumer",
            # The oldest that there is, where nobody has committed a position yet.
            auto_offset_reset="earliest",
        )

    def _once(self) -> None:
        if suspended_clock() - self._shared.looked_s > STALL_S and not self._still_ours():
            # Not one of these is to be believed now; the next poll tells which are lost.
            self._poll()
            return
        self._shared.looked_s = suspended_clock()
        for message in self._poll():
            self._take(message)
        self._hear()
        self._world.check()
        for partition in self._live.values():
            under_way = [run for each in self._live.values() for run in each.runs.values()]
            partition.tend([run.journal.result.severity for run in under_way])
        self._sender.poll()
        if suspended_clock() >= self._commit_at:
            self._commit_at = suspended_clock() + _COMMIT_S
            self._commit(asynchronous=True)

    def _still_ours(self) -> bool:
        """Ask the group whether the partitions are still this handler's, which was held up; and
        have nothing new begun before it is known what others have done meanwhile.
        """
        for number, partition in self._live.items():
            partition.look_again(self._outcomes_end(number))
        return self._commit(asynchronous=False)

    def _outcomes_end(self, number: int) -> int:
        return self._reader.range(self._config.topic("outcomes"), number)[1]

    def _poll(self) -> list[Message]:
        with mapped("reading failures"):
            first = self._consumer.poll(_POLL_S)
            if first is None:
                return []
            return [first, *self._consumer.consume(100, 0)]

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF and not is_retryable(error):
                raise to_headwater(error, "reading failures")
            return
        number, offset = message.partition() or 0, message.offset() or 0
        partition = self._live.get(number)
        if partition is None:
            return
        partition.read = offset + 1
        failure: FailureEvent | None = decoded(FailureEvent, message)
        if failure is not None:
            partition.take(failure, offset)
        elif message.value() is not None:
            log.error("recovery[%d] offset %d is no failure that can be read", number, offset)

    def _hear(self) -> None:
        while True:
            try:
                news = self._news.get_nowait()
            except queue.Empty:
                return
            if isinstance(news, Escalation):
                for partition in self._live.values():
                    partition.heard(news)
            elif news[1].handled_by != self._config.node_id:
                self._foreign(*news)

    def _foreign(self, number: int, result: RecoveryResult) -> None:
        partition = self._live.get(number)
        if partition is None or not partition.knows(result):
            return
        # Two of us believe that they own the partition: the group knows who does. Where it is
        # not this one, the commit is refused, and the next poll reports the partition as lost.
        if self._commit(asynchronous=False):
            partition.foreign(result)

    def _commit(self, *, asynchronous: bool, numbers: Iterable[int] | None = None) -> bool:
        """Write down where a successor has to begin; whether the group took it."""
        places = []
        for number in list(self._live) if numbers is None else numbers:
            partition = self._live.get(number)
            if partition is None or (at := partition.next_offset) < 0:
                continue
            if not asynchronous or self._committed.get(number) != at:
                places.append(TopicPartition(self._topic, number, at))
        if not places:
            return True
        try:
            if asynchronous:
                self._consumer.commit(offsets=places)
            else:
                self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            log.warning("positions not committed: %s", error)
            return False
        self._committed.update({place.partition: place.offset for place in places})
        return True

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        numbers = [tp.partition for tp in assigned if tp.partition < partitions_of("recovery")]
        for number in numbers:
            # What a predecessor recorded up to now has to be known first.
            needed = self._outcomes_end(number)
            self._live[number] = Partition(number, self._making, self._admission, needed)
        consumer.incremental_assign(assigned)
        log.info("assigned: recovery%s", numbers)
        self.ready.set()

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        numbers = [tp.partition for tp in revoked]
        self._commit(asynchronous=False, numbers=numbers)
        self._drop(numbers, _END_S)
        consumer.incremental_unassign(revoked)
        log.info("revoked: recovery%s", numbers)

    def _on_lost(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        numbers = [tp.partition for tp in lost]
        self._drop(numbers, 0.0)
        consumer.incremental_unassign(lost)
        log.warning("lost: recovery%s", numbers)

    def _drop(self, numbers: Iterable[int], timeout_s: float) -> None:
        for number in numbers:
            self._committed.pop(number, None)
            partition = self._live.pop(number, None)
            if partition is not None:
                partition.close(timeout_s)

    def _shut_down(self) -> None:
        self._commit(asynchronous=False)
        self._drop(list(self._live), _END_S)
        self._consumer.close()
        self._world.close()
        self._reader.close()
        self._shared.close()
        self._sender.close()
        log.info("strategies %s stopped", self._config.node_id)
