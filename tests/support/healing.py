"""Handlers of failures in this process, and the failures that they are given."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from typing import Any

from consumers.strategies import Handler, Settings, Strategy
from headwater import Config
from headwater.clock import wall_ms
from headwater.fleet.feed import Feed, Sender, decoded
from headwater.fleet.records import (
    DEFAULT_SEVERITY,
    FailureEvent,
    FailureType,
    RecoveryResult,
    RecoveryStatus,
)
from tests.support.processes import eventually
from tests.support.scripted import ScriptedNode


@contextlib.contextmanager
def healing(config: Config, *strategies: Strategy, **settings: Any) -> Iterator[Handler]:
    """A handler in a thread of its own."""
    handler, stop = Handler(config, strategies, Settings(**settings)), threading.Event()
    thread = threading.Thread(target=handler.run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: handler.ready.is_set() or not thread.is_alive(), 20, "it is ready")
        yield handler
    finally:
        stop.set()
        thread.join()


def failure(type_: FailureType, component: str, **context: Any) -> FailureEvent:
    """What a detector says."""
    now = wall_ms()
    return FailureEvent(
        failure_id=secrets.token_hex(16),
        type=type_,
        severity=DEFAULT_SEVERITY[type_],
        component=component,
        description=f"{type_} of {component}, for a test",
        context=context,
        first_symptom_at=now,
        detected_at=now,
        detected_by="test",
    )


def death(node: ScriptedNode) -> FailureEvent:
    """What a detector says of a node that died."""
    return failure(
        FailureType.NODE_FAILURE, f"node:{node.node_id}", incarnation=node.incarnation.hex()
    )


class Detector:
    """Reports failures, and reads what became of them."""

    def __init__(self, config: Config) -> None:
        self._sender = Sender(config)
        self._feed = Feed(config, "outcomes")
        self.outcomes: dict[str, RecoveryResult] = {}

    def report(self, *failures: FailureEvent) -> None:
        """Write failures, in order."""
        sents = [self._sender.send("recovery", f.failure_id, f, by=f.component) for f in failures]
        self._sender.settle(*sents)

    def clears(self, reported: FailureEvent) -> None:
        """Say that a failure is over."""
        fields = {**reported.to_record(), "resolved": True, "resolved_at": wall_ms()}
        self.report(FailureEvent.from_record(fields))

    def status(self, failure_id: str) -> RecoveryStatus | None:
        """How far a recovery is."""
        for message in self._feed.read(0.02):
            result = decoded(RecoveryResult, message)
            if result is not None:
                self.outcomes[result.failure_id] = result
        found = self.outcomes.get(failure_id)
        return None if found is None else found.status

    def ended(self, reported: FailureEvent, timeout_s: float = 30.0) -> RecoveryResult:
        """How a recovery ended."""
        ids = reported.failure_id
        eventually(
            lambda: self.status(ids) not in (None, RecoveryStatus.RUNNING),
            timeout_s,
            f"{reported.type} of {reported.component} ends",
            0.0,
        )
        return self.outcomes[ids]

    def close(self) -> None:
        """Give the connections back."""
        self._sender.close()
        self._feed.close()
