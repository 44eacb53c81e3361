"""What writing in transactions takes, beside a producer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from headwater.errors import Fenced
from headwater.kafka.errors import mapped, to_headwater


def insist(call: Callable[[], Any], doing: str, timeout_s: float) -> None:
    """Make a call again for as long as its transaction may still succeed, up to ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            call()
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            again = cause.retriable() and not cause.txn_requires_abort()
            if not again or time.monotonic() > deadline:
                raise to_headwater(cause, doing) from error
        else:
            return


def flush(producer: Producer, doing: str, timeout_s: float) -> int:
    """How many records are still not written after ``timeout_s``."""
    try:
        with mapped(doing):
            return int(producer.flush(timeout_s))
    except Exception as error:
        # A producer that finds itself shut out says so from within a callback, which comes
        # through as the bare error, or as none that Python knows.
        if isinstance(error, KafkaError):
            raise to_headwater(error, doing) from error
        if isinstance(error, SystemError):
            raise Fenced(f"{doing}: another process has taken over") from error
        raise
