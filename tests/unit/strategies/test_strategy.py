"""How a strategy is chosen, how failures wait, and what people are told."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import EntryPoint, EntryPoints

import pytest

import consumers.strategies.strategy as module
from consumers.strategies.app import built_in
from consumers.strategies.escalate import attempts_of
from consumers.strategies.journal import bounded, failure_of, first_result
from consumers.strategies.notify import WebhookNotifier, alert
from consumers.strategies.queues import Queues
from consumers.strategies.strategy import Result, check_names, choose, user_strategies
from headwater.errors import ConfigError
from headwater.fleet.records import (
    Escalation,
    EscalationStatus,
    FailureEvent,
    FailureType,
    RecoveryItem,
    RecoveryResult,
    RecoveryStatus,
    RecoveryStep,
    Severity,
    StepState,
)


def failure(number: int, component: str = "node:a") -> FailureEvent:
    """A failure."""
    return FailureEvent(
        failure_id=f"failure-{number}",
        type=FailureType.NODE_FAILURE,
        severity=Severity.HIGH,
        component=component,
        description="it is silent",
        context={"incarnation": "00"},
        first_symptom_at=1,
        detected_at=2,
        detected_by="d",
    )


class Mine:
    """A user's strategy for dead nodes, before Headwater's own."""

    name = "mine"
    priority = 1

    def can_handle(self, failure_type: FailureType) -> bool:
        return failure_type is FailureType.NODE_FAILURE

    def recover(self, failure: FailureEvent, context: object) -> Result:
        return Result(success=True, message="done")


def test_there_is_a_strategy_for_each_type_of_failure() -> None:
    """One of its own."""
    names = [choose(built_in(), each) for each in FailureType]
    assert None not in names and len({id(each) for each in names}) == len(FailureType)


def test_the_smallest_priority_decides() -> None:
    """A user's strategy takes the place of Headwater's where it says so."""
    found = choose([*built_in(), Mine()], FailureType.NODE_FAILURE)
    assert found is not None and found.name == "mine"
    found = choose([*built_in(), Mine()], FailureType.TIMEOUT)
    assert found is not None and found.name == "timeout"
    assert choose([Mine()], FailureType.TIMEOUT) is None
    with pytest.raises(ConfigError, match="mine"):
        check_names([Mine(), Mine()])


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """What installed packages offer."""
    offered: list[EntryPoint] = []
    monkeypatch.setattr(module, "entry_points", lambda group: EntryPoints(offered))
    return offered


def test_users_strategies_come_by_entry_point(points: list[EntryPoint]) -> None:
    """One that cannot be loaded, or is none, is not passed over in silence."""
    points.append(EntryPoint("mine", f"{__name__}:Mine", "x"))
    assert [each.name for each in user_strategies()] == ["mine"]
    points.append(EntryPoint("none", "collections:OrderedDict", "x"))
    with pytest.raises(ConfigError, match="OrderedDict"):
        user_strategies()
    points[-1] = EntryPoint("gone", "no_such_module:Thing", "x")
    with pytest.raises(ConfigError, match="no_such_module"):
        user_strategies()


def test_failures_wait_in_order_for_each_component_and_side_by_side() -> None:
    """And what a successor would have to read again is known."""
    queues = Queues()
    for number, component in enumerate(["node:a", "node:b", "node:a"]):
        queues.add(failure(number, component), 10 + number)
    heads = [queued.failure.failure_id for _, queued in queues.heads(busy=())]
    assert heads == ["failure-0", "failure-1"]
    assert [w.component for w, _ in queues.heads(busy={"node:a"})] == ["node:b"]
    assert queues.next_offset(13) == 10
    first = queues.find("failure-0")
    assert first is not None
    queues.take(first)
    heads = [queued.failure.failure_id for _, queued in queues.heads(busy=())]
    assert sorted(heads) == ["failure-1", "failure-2"]
    assert queues.next_offset(13) == 10
    queues.release("failure-0")
    assert queues.next_offset(13) == 11
    queues.hold(5, "failure-9")
    assert queues.next_offset(13) == 5


def test_a_recovery_remembers_its_failure() -> None:
    """Whoever goes on needs nothing but its record."""
    assert failure_of(first_result(failure(1), 3)) == failure(1)


def test_what_was_tried_is_told_attempt_by_attempt() -> None:
    """Each with its steps and what came of it."""
    result = RecoveryResult(
        failure_id="f",
        type=FailureType.TIMEOUT,
        severity=Severity.MEDIUM,
        component="agent:a",
        started_at=1,
        steps=[
            RecoveryStep(name=name, state=state, began_at=1, detail=detail)
            for name, state, detail in (
                ("received", StepState.DONE, {}),
                ("1.restart", StepState.FAILED, {"node_id": "n"}),
                ("1.result", StepState.DONE, {"success": False, "error": "no"}),
                ("2.move", StepState.BEGUN, {}),
            )
        ],
    )
    first, second = attempts_of(result)
    assert (first["attempt"], first["error"]) == (1, "no")
    assert [s["name"] for s in first["steps"]] == ["1.restart"]
    assert [s["name"] for s in second["steps"]] == ["2.move"]


def test_a_result_is_partial_where_some_agents_go_on() -> None:
    """And failed where none does."""
    good, bad = (RecoveryItem(agent_id=str(ok), ok=ok) for ok in (True, False))
    assert Result(success=False, message="", items=(good, bad)).status is RecoveryStatus.PARTIAL
    assert Result(success=False, message="", items=(bad,)).status is RecoveryStatus.FAILED
    assert Result(success=True, message="").status is RecoveryStatus.SUCCEEDED
    many = [RecoveryItem(agent_id=str(n), ok=n != 9000) for n in range(9001)]
    assert len(bounded(many)) == 2500 and not bounded(many)[0].ok


def test_an_alert_is_what_alertmanager_takes() -> None:
    """The same labels each time; it ends when the escalation is resolved, and not before."""
    escalation = Escalation(
        failure_id="f",
        type=FailureType.NODE_FAILURE,
        severity=Severity.HIGH,
        component="node:a",
        message="start a node",
        tried=[{}, {}],
        opened_at=1_000,
    )
    now = datetime(2026, 1, 2, tzinfo=UTC)
    told = alert(escalation, now)
    assert told["labels"] == {
        "alertname": "HeadwaterEscalation",
        "failure_id": "f",
        "type": "NODE_FAILURE",
        "severity": "high",
        "component": "node:a",
    }
    assert told["startsAt"] == "1970-01-01T00:00:01+00:00"
    assert datetime.fromisoformat(told["endsAt"]) > now
    over = Escalation(
        **{**{f: getattr(escalation, f) for f in escalation.__struct_fields__},
           "status": EscalationStatus.RESOLVED}
    )  # fmt: skip
    assert alert(over, now)["endsAt"] == now.isoformat()
    assert alert(over, now)["labels"] == told["labels"]


def test_a_webhooks_password_is_not_shown() -> None:
    """And what is no address is refused at once."""
    assert WebhookNotifier("http://me:secret@host:9093").name == "webhook http://host:9093"
    with pytest.raises(ConfigError):
        WebhookNotifier("host:9093")
