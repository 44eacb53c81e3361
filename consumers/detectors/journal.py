"""What has been reported so far, by whomever, and the reporting of what is new."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from headwater.clock import wall_ms
from headwater.config import Config
from headwater.crash import crash_point
from headwater.fleet.audit import audit
from headwater.fleet.feed import Feed, Sender, Sent, decoded
from headwater.fleet.records import FailureEvent, FailureType, Severity

from .finding import Finding, Topic, topic_of

log = logging.getLogger("headwater.detectors")

_RANK = {severity: number for number, severity in enumerate(Severity)}


class Table:
    """Failures as the ``recovery`` topic tells them; pure."""

    def __init__(self) -> None:
        self._last: dict[Topic, FailureEvent] = {}

    def take(self, event: FailureEvent) -> None:
        """Take a record in, those of a component in their order."""
        topic = topic_of(event)
        last = self._last.get(topic)
        if last is not None and last.failure_id != event.failure_id and event.resolved:
            return  # of an episode before the one that is open
        self._last[topic] = event

    def last(self, topic: Topic) -> FailureEvent | None:
        """The last failure of that kind, which may be over."""
        return self._last.get(topic)

    def open(self, of: FailureType) -> list[FailureEvent]:
        """The failures of a type that are not over."""
        return [e for e in self._last.values() if e.type is of and not e.resolved]

    def says(self, finding: Finding) -> bool:
        """Whether a finding tells nothing new: the same failure was reported, whatever became of
        it since, or another one of the same thing is open; unless it has become worse.
        """
        last = self._last.get(finding.topic)
        if last is None:
            return False
        if last.resolved:
            return last.failure_id == finding.failure_id
        worse = finding.severity is not None and _RANK[finding.severity] > _RANK[last.severity]
        return not worse


class Journal:
    """Follows ``recovery`` and writes to it, and to the audit. For one thread.

    Nothing is reported before all that was there at the start has been read.
    """

    def __init__(self, config: Config) -> None:
        self._node_id = config.node_id
        self._actor = f"detector:{config.node_id}"
        self._feed = Feed(config, "recovery")
        self._sender = Sender(config)
        self._table = Table()
        self._sent: dict[Topic, tuple[FailureEvent, Sent]] = {}

    @property
    def ready(self) -> bool:
        """Whether what is in the topic is known."""
        return self._feed.caught_up

    def read(self) -> None:
        """Take in what has come."""
        self._sender.poll()
        for message in self._feed.read(0):
            event = decoded(FailureEvent, message)
            if event is not None:
                self._table.take(event)
        for topic, (event, sent) in tuple(self._sent.items()):
            if sent.done and sent.error is None:
                crash_point("detector.after_emit")
            if sent.error is not None:
                log.warning("not reported, will be again: %s: %s", event.description, sent.error)
            if sent.error is not None or self._table.last(topic) == event:
                del self._sent[topic]

    def open(self, of: FailureType) -> Iterator[FailureEvent]:
        """The failures of a type that are not over, and of which nothing is on its way."""
        return (e for e in self._table.open(of) if topic_of(e) not in self._sent)

    def last(self, topic: Topic) -> FailureEvent | None:
        """The last failure of that kind, which may be over."""
        return self._table.last(topic)

    def report(self, finding: Finding) -> bool:
        """Report a finding, unless that was done; whether it was news."""
        if finding.topic in self._sent or self._table.says(finding):
            return False
        event = finding.event(wall_ms(), self._node_id)
        last = self._table.last(finding.topic)
        if last is not None and not last.resolved:  # the same failure, become worse
            event = msgspec.structs.replace(
                event, failure_id=last.failure_id, first_symptom_at=last.first_symptom_at
            )
        self._write("failure.detected", event, event.description)
        return True

    def resolve(self, event: FailureEvent, why: str) -> None:
        """Say that a failure is over."""
        over = msgspec.structs.replace(event, resolved=True, resolved_at=wall_ms())
        self._write("failure.resolved", over, why)

    def _write(self, action: str, event: FailureEvent, message: str) -> None:
        crash_point("detector.before_emit")
        # First the audit: should this end between the two, the event is written again, and the
        # audit has it twice rather than not at all.
        detail = event.context | {"type": event.type.value, "severity": event.severity.value}
        audit(
            self._sender,
            self._actor,
            action,
            event.component,
            failure_id=event.failure_id,
            message=message,
            detail=detail,
        )
        crash_point("detector.audited")
        sent = self._sender.send("recovery", event.failure_id, event, by=event.component)
        self._sent[topic_of(event)] = event, sent
        log.warning("%s %s %s: %s", action, event.type.value, event.failure_id, message)

    def close(self) -> None:
        """Wait a moment for what is on its way."""
        self._feed.close()
        self._sender.close()
