"""The process's producer of events: bounded memory, back-pressure, prompt acknowledgements."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, Message, Producer

from headwater.config import Config
from headwater.errors import Unavailable
from headwater.kafka import clients
from headwater.kafka.errors import mapped

log = logging.getLogger("headwater.publisher")

Delivered = Callable[[KafkaError | None, Message], None]

_STEP_S = 0.01
_CROWD, _CROWD_S = 4, 0.002
# Only where nobody waits, or so many that they are served better together: see `hurry`.
_LINGER_MS = 20


class Publisher:
    """Sends records of the events topic. Safe for use by several threads."""

    def __init__(self, config: Config) -> None:
        self._topic = config.topic("events")
        self._timeout_s = config.send_timeout.total_seconds()
        self._producer: Producer = clients.producer(config, linger_ms=_LINGER_MS)
        self._produce = self._producer.produce
        self._search = clients.LeaderSearch(self._producer)
        self._busy = threading.Event()
        self._stop = threading.Event()
        self._waiting = 0
        self._hurried = 0
        self._lock = threading.Lock()
        self._sent = 0
        self._thread = threading.Thread(target=self._run, name="headwater-publisher", daemon=True)
        self._thread.start()

    def send(
        self, partition: int, key: bytes, value: bytes, delivered: Delivered, block: bool = True
    ) -> None:
        """Queue a record. While too much waits for the brokers it blocks, or without ``block``
        raises BufferError; raises :class:`Unavailable`, with nothing sent, when that lasts
        ``Config.send_timeout``.
        """
        try:
            self._produce(self._topic, value, key, partition, delivered)
        except BufferError:
            if not block:
                raise
            self._send_when_possible(partition, key, value, delivered)
        self._sent += 1
        if not self._sent & 63:
            self._producer.poll(0)
        if not self._busy.is_set():
            self._busy.set()

    def _send_when_possible(
        self, partition: int, key: bytes, value: bytes, delivered: Delivered
    ) -> None:
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            self._producer.poll(_STEP_S)
            try:
                with mapped("sending a change"):
                    self._produce(self._topic, value, key, partition, delivered)
            except BufferError:
                continue
            return
        raise Unavailable(
            f"the brokers have taken nothing for {self._timeout_s:g} s and the send buffer is "
            "full; nothing was sent: try again"
        )

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Send without lingering until ``done()``; False when that takes longer than the timeout.

        ``done`` is asked after deliveries were reported.
        """
        started = time.monotonic()
        deadline = started + timeout_s
        with self._lock:
            self._waiting += 1
        try:
            while not done():
                now = time.monotonic()
                if now >= deadline:
                    return False
                self._producer.flush(_STEP_S)
                self._search.waited(self._topic, now - started)
        finally:
            with self._lock:
                self._waiting -= 1
        return True

    @contextmanager
    def hurry(self) -> Iterator[None]:
        """Within the block, records are sent at once instead of lingering for company, and the
        publisher's own thread reports deliveries: for those who cannot wait in :meth:`wait`.
        """
        with self._lock:
            self._hurried += 1
        try:
            yield
        finally:
            with self._lock:
                self._hurried -= 1

    def close(self, timeout_s: float) -> int:
        """Wait for what is in flight; returns how many records are still undelivered."""
        left = self._producer.flush(timeout_s)
        self._stop.set()
        self._busy.set()
        self._thread.join()
        return left

    def _run(self) -> None:
        # Whoever waits in flush() must not lose deliveries to this thread, or would sleep on; so
        # it only looks after stragglers, every few milliseconds, and after those in a hurry.
        while not self._stop.is_set():
            self._busy.wait()
            if self._hurried > _CROWD:
                # Together they are sooner through than each by itself: the brokers take a request
                # of many records about as fast as one of one.
                self._producer.poll(_CROWD_S)
            elif self._hurried:
                self._producer.flush(_STEP_S)
            else:
                time.sleep(_STEP_S)
                if not self._waiting:
                    self._producer.poll(0)
            if not len(self._producer):
                self._busy.clear()
                if len(self._producer):  # sent since it was looked at
                    self._busy.set()
