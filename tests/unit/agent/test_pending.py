"""Delivery reports: what is settled, and from where on everything is in doubt."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError

from headwater.agent.pending import Flight, Outcome, Pending


class FakeLease:
    def __init__(self) -> None:
        self.held = True

    def holds(self, generation: int) -> bool:
        return self.held


class FakeMessage:
    def offset(self) -> int:
        return 5


def flight(count: int) -> tuple[Any, FakeLease, list[Pending]]:
    lease = FakeLease()
    made: Any = Flight(lease, 1)  # type: ignore[arg-type]
    return made, lease, [made.add(bytes([i]) * 32, i) for i in range(count)]


def report(pending: Pending, code: int | None = None) -> None:
    error = None if code is None else KafkaError(code)
    pending(error, FakeMessage())  # type: ignore[arg-type]


def test_acknowledgements_settle_in_order() -> None:
    """A record counts once it and all before it were acknowledged."""
    flying, _, (a, b, c) = flight(3)
    report(b)
    assert not b.settled
    report(a)
    assert a.settled and b.settled and not c.settled
    assert flying.doubt is None and not flying.reported
    report(c)
    assert flying.calm() and flying.reported


def test_what_follows_a_failure_is_in_doubt_though_acknowledged() -> None:
    """Kafka may acknowledge what the fold will refuse."""
    flying, _, (a, b, c) = flight(3)
    report(a)
    report(b, KafkaError._MSG_TIMED_OUT)
    report(c)
    assert a.settled and not b.settled and not c.settled
    assert flying.doubt is b and flying.reported and not flying.calm()
    assert not flying.only_unproven


def test_an_acknowledgement_after_the_lease_proves_nothing() -> None:
    """It is unproven, and so is all that follows, but nothing failed."""
    flying, lease, (a, b) = flight(2)
    lease.held = False
    report(a)
    lease.held = True
    report(b)
    assert a.outcome is Outcome.UNPROVEN and not b.settled
    assert flying.only_unproven and not flying.calm()


def test_waiters_are_told_of_settling_and_of_doubt() -> None:
    """Both ends of the wait: settled, or in doubt by what came before."""
    _, _, (a, b) = flight(2)
    told: list[str] = []
    a.notify = lambda: told.append("a")
    b.notify = lambda: told.append("b")
    report(a)
    assert told == ["a"]
    report(b, KafkaError._MSG_TIMED_OUT)
    assert told == ["a", "b"]


def test_a_suspected_record_that_is_settled_after_all_leaves_no_doubt() -> None:
    """Cancelling a wait puts the flight in doubt until somebody looks."""
    flying, _, (a,) = flight(1)
    flying.suspect(a)
    assert flying.doubt is a and not flying.calm()
    report(a)
    assert flying.doubt is a and not flying.only_unproven
    assert flying.calm() and flying.doubt is None
