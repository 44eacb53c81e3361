"""All that the fleet's topics tell, followed by a thread of its own: for tests of nodes."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from headwater import Config
from headwater.fleet.feed import Feed, decoded
from headwater.fleet.pulse import Life, Pulse
from headwater.fleet.records import (
    AgentMode,
    AuditRecord,
    FailureEvent,
    FailureType,
    NodeMode,
    RecoveryResult,
    RecoveryStatus,
    Route,
)
from headwater.fleet.routes import RouteTable

_ENDED = frozenset(RecoveryStatus) - {RecoveryStatus.RUNNING}
# A failure that nobody had to do anything about.
_PASSED = "failure.resolved"


class Sight:
    """What was read so far; safe to look at from other threads, between reads."""

    def __init__(self, config: Config) -> None:
        self.failures: list[tuple[float, FailureEvent]] = []
        self.outcomes: dict[str, RecoveryResult] = {}
        self.audit: defaultdict[str, list[AuditRecord]] = defaultdict(list)
        self.routes = RouteTable()
        self.lock = threading.Lock()
        self._pulse = Pulse(config)
        self._feeds = {
            name: Feed(config, name) for name in ("recovery", "outcomes", "audit", "routes")
        }
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sight", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        takers: dict[str, Callable[[Any, Any], None]] = {
            "recovery": self._failure,
            "outcomes": self._outcome,
            "audit": self._audit,
            "routes": self._route,
        }
        while not self._stop.is_set():
            beats = self._pulse.read(0.02)
            with self.lock:
                for name, feed in self._feeds.items():
                    for message in feed.read(0):
                        takers[name](message.key(), message)
            if not beats:
                time.sleep(0.005)

    def _failure(self, _: Any, message: Any) -> None:
        if (event := decoded(FailureEvent, message)) is not None:
            self.failures.append((time.monotonic(), event))

    def _outcome(self, _: Any, message: Any) -> None:
        if (result := decoded(RecoveryResult, message)) is not None:
            self.outcomes[result.failure_id] = result

    def _audit(self, _: Any, message: Any) -> None:
        if (record := decoded(AuditRecord, message)) is not None:
            self.audit[record.failure_id].append(record)

    def _route(self, key: Any, message: Any) -> None:
        self.routes.take((key or b"").decode(), decoded(Route, message))

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        self._thread.join()
        self._pulse.close()
        for feed in self._feeds.values():
            feed.close()

    # What can be asked.

    def living(self) -> dict[str, Life]:
        """The nodes that were heard of within their lease."""
        now = self._pulse._clock()
        lives = list(self._pulse.lives.values())
        return {
            life.node_id: life
            for life in lives
            if life.mode is not NodeMode.CLIENT and now - life.read_s < life.lease_s
        }

    def seen(
        self, type_: FailureType | None = None, component: str = "", since_s: float = 0.0
    ) -> list[FailureEvent]:
        """Failures so far, of a type or all, of a component or all, that were read after
        ``since_s`` (monotonic); not that they have cleared.
        """
        with self.lock:
            return [
                event
                for at_s, event in self.failures
                if not event.resolved
                and at_s >= since_s
                and type_ in (None, event.type)
                and component in ("", event.component)
            ]

    def audited(self, component: str) -> list[AuditRecord]:
        """What the audit tells of a component, in order."""
        with self.lock:
            records = [r for each in self.audit.values() for r in each if r.component == component]
        return sorted(records, key=lambda record: record.at)

    def holders(self, agent_id: str) -> list[tuple[str, int]]:
        """Node and epoch of each living node that says it owns the agent."""
        return [
            (life.node_id, report.epoch)
            for life in self.living().values()
            if (report := life.agents.get(agent_id)) is not None
            and report.epoch > 0
            and report.state not in (AgentMode.GONE, AgentMode.DONE)
        ]

    def rewritten(self) -> dict[str, int]:
        """Agents whose states were written again as a whole since what is stored was damaged, and
        how often.
        """
        with self.lock:
            done = [
                outcome.component.removeprefix("agent:")
                for outcome in self.outcomes.values()
                for step in outcome.steps
                if step.name.endswith(".restore") and step.detail.get("layer") == "log"
            ]
        return dict(Counter(done))

    def unfinished(self, apart_from: str = "", *, slow: bool = True) -> list[str]:
        """For each failure, what of detection, actions and outcome is missing in the audit; but
        for those of one component, and, unless ``slow``, those where action after action is tried.
        """
        left_out = () if slow else (FailureType.PERFORMANCE_DEGRADATION,)
        with self.lock:
            events = (event for _, event in self.failures if event.type not in left_out)
            ids = {e.failure_id: e for e in events if e.component != apart_from}
            return [wrong for each in ids.values() if (wrong := self._missing(each))]

    def _missing(self, failure: FailureEvent) -> str:
        said = {record.action for record in self.audit[failure.failure_id]}
        what = f"{failure.type} of {failure.component} ({failure.failure_id[:8]})"
        if "failure.detected" not in said:
            return f"{what}: no detection in the audit"
        outcome = self.outcomes.get(failure.failure_id)
        if outcome is None:
            return "" if _PASSED in said else f"{what}: nobody did anything about it"
        if outcome.status not in _ENDED:
            return f"{what}: no outcome; its last step: {outcome.steps[-1:]}"
        if "recovery.begun" not in said and outcome.status is not RecoveryStatus.SKIPPED:
            return f"{what}: no begin of its recovery in the audit, only {sorted(said)}"
        if not any(action.startswith("recovery.finished") for action in said):
            return f"{what}: no end of its recovery in the audit, only {sorted(said)}"
        return ""


@contextmanager
def sight_of(config: Config) -> Iterator[Sight]:
    """Follow the fleet's topics for the length of the block."""
    sight = Sight(config)
    try:
        yield sight
    finally:
        sight.close()
