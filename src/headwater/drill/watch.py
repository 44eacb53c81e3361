"""What the fleet says while a drill goes on: failures, what is done about them, and heartbeats."""

from __future__ import annotations

import time
from collections.abc import Callable

from headwater.config import Config
from headwater.fleet.feed import Feed, decoded
from headwater.fleet.pulse import Life, Pulse
from headwater.fleet.records import (
    FailureEvent,
    FailureType,
    NodeMode,
    RecoveryResult,
    RecoveryStatus,
    StepState,
)
from headwater.fleet.routes import Routes

_STEP_S = 0.02
_ACT_S = 20.0


class Watch:
    """Follows the fleet's topics, for one thread; what it saw has times of the monotonic clock."""

    def __init__(self, config: Config) -> None:
        self._pulse = Pulse(config)
        self._recovery = Feed(config, "recovery", "end")
        self._outcomes = Feed(config, "outcomes", "end")
        self.routes = Routes(config)
        self.routes.wait()
        self._failures: list[tuple[float, FailureEvent]] = []
        self._results: dict[str, RecoveryResult] = {}
        self._ended_s: dict[str, float] = {}
        self._handlers: dict[str, list[str]] = {}

    def look(self) -> None:
        """Read on, for a moment."""
        self._pulse.read(_STEP_S)
        self.routes.read(0)
        for message in self._recovery.read(0):
            if (event := decoded(FailureEvent, message)) is not None and not event.resolved:
                self._failures.append((time.monotonic(), event))
        for message in self._outcomes.read(0):
            if (result := decoded(RecoveryResult, message)) is not None:
                self._take(result)

    def _take(self, result: RecoveryResult) -> None:
        self._results[result.failure_id] = result
        handlers = self._handlers.setdefault(result.failure_id, [])
        if result.handled_by not in handlers:
            handlers.append(result.handled_by)
        if result.status is RecoveryStatus.RUNNING:
            self._ended_s.pop(result.failure_id, None)
        else:
            self._ended_s.setdefault(result.failure_id, time.monotonic())

    def until(self, true: Callable[[], bool], timeout_s: float) -> bool:
        """Read on until something is true, for at most so long; whether it came true."""
        deadline = time.monotonic() + timeout_s
        while not true():
            if time.monotonic() > deadline:
                return False
            self.look()
        return True

    def life(self, node_id: str) -> Life | None:
        """A node's latest process, if it was heard of."""
        return self._pulse.lives.get(node_id)

    def runs(self, node_id: str, kind: str) -> bool:
        """Whether a node beats, and can run a kind."""
        life = self.life(node_id)
        return life is not None and life.mode is NodeMode.RUNNING and kind in life.kinds

    def failure(self, type_: FailureType, component: str) -> tuple[float, FailureEvent] | None:
        """The first failure of this type and component since this began, and when it was read."""
        return next(
            (
                (at_s, event)
                for at_s, event in self._failures
                if event.type is type_ and event.component == component
            ),
            None,
        )

    def result(self, failure_id: str) -> RecoveryResult | None:
        """What has been done about a failure so far."""
        return self._results.get(failure_id)

    def await_action(self, failure_id: str) -> None:
        """Read on until the first step against a failure has been taken, for a while at most."""

        def acted() -> bool:
            result = self.result(failure_id)
            return result is not None and any(s.state is StepState.DONE for s in result.steps[1:])

        self.until(acted, _ACT_S)

    def handlers(self, failure_id: str) -> list[str]:
        """Who has worked on a failure, in order."""
        return self._handlers.get(failure_id, [])

    def ended_s(self, failure_id: str) -> float | None:
        """When it was read that nothing more will be done about a failure; None before."""
        return self._ended_s.get(failure_id)

    def close(self) -> None:
        """Stop following."""
        for each in (self._pulse, self._recovery, self._outcomes, self.routes):
            each.close()
