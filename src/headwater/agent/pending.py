"""What is known of changes that were sent: which are acknowledged, and which are in doubt."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import Enum

from confluent_kafka import KafkaError, Message

from headwater.agent.lease import Lease


class Outcome(Enum):
    """What a delivery report says of one record."""

    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    UNPROVEN = "acknowledged, but not within the owner's lease"
    FAILED = "not acknowledged"


class Pending:
    """One record on its way. Called by the producer with its delivery report."""

    __slots__ = (
        "checkpoint_id", "dropped", "error", "flight", "hash", "notify", "offset", "outcome",
        "settled", "version",
    )  # fmt: skip

    def __init__(self, flight: Flight, chain_hash: bytes, version: int) -> None:
        self.flight = flight
        self.hash = chain_hash
        self.version = version
        self.outcome = Outcome.SENT
        self.settled = False
        self.dropped = False
        self.checkpoint_id: str | None = None
        self.offset = -1
        self.error: KafkaError | None = None
        self.notify: Callable[[], object] | None = None

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Take the delivery report."""
        self.flight.delivered(self, error, message)


class Flight:
    """The records of one session that are on their way, oldest first.

    A record is *settled* once it and all before it were acknowledged while the lease held. At the
    first that was not, the flight is in *doubt*: what is behind it extends a record that may not
    be in the log, so that Kafka's acknowledgement of it says nothing.
    """

    __slots__ = ("_generation", "_lease", "_lock", "doubt", "queue")

    def __init__(self, lease: Lease, generation: int) -> None:
        self._lease = lease
        self._generation = generation
        self._lock = threading.Lock()
        self.queue: deque[Pending] = deque()
        self.doubt: Pending | None = None

    def add(self, chain_hash: bytes, version: int) -> Pending:
        """A new record, behind all others."""
        pending = Pending(self, chain_hash, version)
        self.queue.append(pending)
        return pending

    def withdraw(self, pending: Pending) -> None:
        """Forget the newest record: it was never sent."""
        assert self.queue.pop() is pending

    @property
    def reported(self) -> bool:
        """Whether every record has its delivery report."""
        with self._lock:
            return all(p.outcome is not Outcome.SENT for p in self.queue)

    @property
    def only_unproven(self) -> bool:
        """Whether the brokers have all that is left, and the lease alone leaves it in doubt."""
        with self._lock:
            return bool(self.queue) and all(
                p.outcome in (Outcome.ACKNOWLEDGED, Outcome.UNPROVEN) for p in self.queue
            )

    def calm(self) -> bool:
        """Whether everything is settled; then there is no doubt any more."""
        with self._lock:
            if not self.queue:
                self.doubt = None
            return not self.queue

    def suspect(self, pending: Pending) -> None:
        """Somebody stopped waiting for ``pending``: nothing may follow before it is settled."""
        with self._lock:
            if self.doubt is None:
                self.doubt = pending

    def delivered(self, pending: Pending, error: KafkaError | None, message: Message) -> None:
        """Take a delivery report; it may come from any thread."""
        queue = self.queue
        with self._lock:
            if error is not None:
                pending.outcome, pending.error = Outcome.FAILED, error
            else:
                pending.offset = message.offset() or 0
                held = self._lease.holds(self._generation)
                pending.outcome = Outcome.ACKNOWLEDGED if held else Outcome.UNPROVEN
            while queue and queue[0].outcome is Outcome.ACKNOWLEDGED:
                first = queue.popleft()
                first.settled = True
                if first.notify is not None:
                    first.notify()
            if self.doubt is None and pending.outcome is not Outcome.ACKNOWLEDGED:
                self.doubt = pending
                for waiting in queue:
                    if waiting.notify is not None:
                        waiting.notify()
