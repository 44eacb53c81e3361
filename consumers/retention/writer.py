"""Writes what retention has decided, in short transactions, under one id for the whole cluster.

Whoever begins to write shuts out a former instance, so two never act on what they knew at
different times; and what an instance left undecided when it died, its successor aborts at once.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message

from headwater.config import Config
from headwater.errors import Unavailable
from headwater.kafka import clients
from headwater.kafka.errors import mapped, to_headwater
from headwater.kafka.transactions import flush, insist

log = logging.getLogger("headwater.retention")

# What is undecided hides all that is behind it from readers: for no longer than this, even where
# nobody takes over from an instance that died.
_LONGEST_MS = 10_000


class Writer:
    """One transactional producer. Not for use by two threads."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._timeout_s = config.send_timeout.total_seconds()
        self._failed: KafkaError | None = None
        self._producer = clients.producer(
            config,
            transactional_id=f"{config.prefix}retention",
            transaction_timeout_ms=_LONGEST_MS,
            message_timeout_ms=_LONGEST_MS,
        )
        insist(
            lambda: self._producer.init_transactions(self._timeout_s),
            "taking retention over",
            self._timeout_s,
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything that is written in the block, or nothing: where it raises, nothing.

        Raises :class:`Fenced` once another instance has taken over.
        """
        with mapped("beginning a transaction"):
            self._producer.begin_transaction()
        try:
            yield
            self.settle()
            insist(
                lambda: self._producer.commit_transaction(self._timeout_s),
                "committing",
                self._timeout_s,
            )
        except BaseException:
            self._abort()
            raise

    def put(
        self,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes | None,
        written: Callable[[int], None] | None = None,
    ) -> None:
        """Write one record; ``written`` is told its offset, at the latest by :meth:`settle`."""
        name = self._config.topic(topic)
        done = partial(self._delivered, written)
        while True:
            try:
                self._producer.produce(name, value, key, partition=partition, on_delivery=done)
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                raise to_headwater(error.args[0], f"writing to {name}") from error
            else:
                return

    def settle(self) -> None:
        """Wait until everything so far is written."""
        left = flush(self._producer, "writing", self._timeout_s)
        if self._failed is not None:
            raise to_headwater(self._failed, "writing")
        if left:
            raise Unavailable(f"{left} records not written in {self._timeout_s:g} s")

    def close(self) -> None:
        """Give the connections back."""
        self._producer.purge()
        with warnings.catch_warnings():
            # That what is open cannot be aborted by one that was shut out is no news.
            warnings.simplefilter("ignore", RuntimeWarning)
            self._producer.close()

    def _delivered(
        self, written: Callable[[int], None] | None, error: KafkaError | None, message: Message
    ) -> None:
        if error is not None:
            self._failed = error
        elif written is not None:
            written(message.offset() or 0)

    def _abort(self) -> None:
        self._failed = None
        try:
            self._producer.purge()
            self._producer.abort_transaction(self._timeout_s)
        except KafkaException as error:
            # Fenced, or out of reach: whoever takes over aborts it.
            log.debug("not aborted: %s", error)
        self._failed = None
