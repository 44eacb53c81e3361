"""The handler of failures against a real broker: nodes follow a script, everything else is real."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from consumers.strategies import Context, NodeFailure, Result
from consumers.strategies.journal import first_result
from consumers.strategies.limits import Limits, Rate
from consumers.strategies.run import Patience
from headwater import Config
from headwater.clock import wall_ms
from headwater.errors import Unavailable
from headwater.fleet.audit import read_audit
from headwater.fleet.feed import Feed, Sender
from headwater.fleet.records import (
    Command,
    CommandKind,
    FailureEvent,
    FailureType,
    RecoveryStatus,
    RouteStatus,
)
from headwater.fleet.routes import Routes
from headwater.topics import connect_fleet
from tests.support.clusters import Kafka, fresh_config
from tests.support.healing import Detector, death, failure, healing
from tests.support.processes import eventually, programs
from tests.support.scripted import ScriptedNode, obedient, scripted

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

QUICK = Patience(attempts=2, first_s=0.05)


@pytest.fixture(scope="module")
def config(headwater_kafka: Kafka) -> Config:
    """Topics that the module's tests share; each has nodes and kinds of its own."""
    # A lease of 3 s: a busy machine must not make nodes look dead that are not.
    made = fresh_config(headwater_kafka, partitions=2, profile="default")
    connect_fleet(made)
    return made


@pytest.fixture
def detector(config: Config) -> Iterator[Detector]:
    """Somebody who reports failures."""
    made = Detector(config)
    yield made
    made.close()


def actions(config: Config, reported: FailureEvent) -> list[str]:
    """What the audit tells of a failure."""
    return [r.action for r in read_audit(config) if r.failure_id == reported.failure_id]


def starts(*nodes: ScriptedNode) -> Counter[str]:
    """How often each agent was started by a command of its own."""
    return Counter(
        agent.agent_id
        for node in nodes
        for command in node.obeyed
        if command.kind is CommandKind.START
        for agent in command.agents
    )


def test_the_agents_of_a_dead_node_are_started_on_the_others(
    config: Config, detector: Detector
) -> None:
    """All of them, at once, on both of the others; the audit tells it in order."""
    with scripted(config, "a", "b", "c") as (a, b, c), healing(config, NodeFailure()):
        a.has_many([f"agent-{n}" for n in range(100)])
        time.sleep(0.5)
        a.die()
        dead = death(a)
        detector.report(dead)
        result = detector.ended(dead)
        assert result.status is RecoveryStatus.SUCCEEDED, result
        assert len(result.items) == 100 and all(item.ok for item in result.items)
        assert len(b.agents) == len(c.agents) == 50
        assert set(starts(b, c).values()) == {1}
        assert actions(config, dead) == [
            "recovery.begun", "node.unavailable", "step.begun", "step.done", "recovery.finished",
        ]  # fmt: skip


@pytest.mark.fault
@pytest.mark.parametrize("place", ["begun", "step_begun", "step_taken", "before_finish"])
def test_another_handler_goes_on_where_one_was_killed(
    config: Config, detector: Detector, tmp_path: Path, place: str
) -> None:
    """Wherever that was: each agent is started by one command, and the outcome is the same."""
    kind = f"Kind-{place}"
    with (
        scripted(config, f"a-{place}", f"b-{place}", kinds=(kind,)) as (a, b),
        programs(config, tmp_path) as started,
    ):
        crash = f"strategy.{place}"
        first = started.start("first", "consumers.strategies", [], HEADWATER_CRASH_AT=crash)
        eventually(lambda: "assigned" in first.tail(), 60, "the first handler has partitions")
        a.has_many([f"{place}-{n}" for n in range(20)], kind=kind)
        a.die()
        dead = death(a)
        detector.report(dead)
        first.await_crash()
        with healing(config.with_(node_id="second"), NodeFailure()):
            result = detector.ended(dead)
        assert result.status is RecoveryStatus.SUCCEEDED, result
        assert result.attempt == 1 and result.handled_by == "second"
        assert starts(b) == {f"{place}-{n}": 1 for n in range(20)}
        told = actions(config, dead)
        assert told[-1] == "recovery.finished"
        if place != "begun":  # what was not in the log yet begins anew
            assert "recovery.resumed" in told


@pytest.mark.fault
def test_a_handler_that_was_frozen_does_not_act_on_what_it_knew(
    config: Config, detector: Detector, tmp_path: Path
) -> None:
    """Another one took over meanwhile; what that did stays as it is."""
    with (
        scripted(config, "f-a", "f-b", kinds=("Frozen",)) as (a, b),
        programs(config, tmp_path) as started,
    ):
        first = started.start("first", "consumers.strategies", [])
        eventually(lambda: "assigned" in first.tail(), 60, "the first handler has partitions")
        a.has_many([f"frozen-{n}" for n in range(20)], kind="Frozen")

        # It is stopped in the midst of its recovery, which it must not complete.
        def freeze(node: ScriptedNode, command: Command, agent: str) -> str:
            first.pause()
            return ""

        b.script = freeze
        a.die()
        dead = death(a)
        detector.report(dead)
        first.await_paused()
        b.script = obedient
        with healing(config.with_(node_id="second"), NodeFailure()):
            result = detector.ended(dead)
            assert (result.status, result.handled_by) == (RecoveryStatus.SUCCEEDED, "second")
            first.resume()
            time.sleep(2.0)
            detector.status(dead.failure_id)
            assert detector.outcomes[dead.failure_id].status is RecoveryStatus.SUCCEEDED
        assert starts(b) == {f"frozen-{n}": 1 for n in range(20)}
        first.end()
    assert actions(config, dead).count("recovery.finished") == 1


def test_a_target_that_refuses_is_left_out_and_each_agent_is_told_of(
    config: Config, detector: Detector
) -> None:
    """Those that no node takes are named, with the reason; a person is asked."""

    def moody(node: ScriptedNode, command: Command, agent: str) -> str:
        if agent == "moody-3" or (agent == "moody-1" and node.node_id == "m-b"):
            return "no"
        return ""

    with (
        scripted(config, "m-a", "m-b", "m-c", kinds=("Moody",)) as (a, b, c),
        healing(config, NodeFailure(), patience=QUICK),
    ):
        a.has_many([f"moody-{n}" for n in range(4)], kind="Moody")
        b.script = c.script = moody
        a.die()
        dead = death(a)
        detector.report(dead)
        result = detector.ended(dead)
        assert {item.agent_id: item.ok for item in result.items} == {
            "moody-0": True, "moody-1": True, "moody-2": True, "moody-3": False,
        }  # fmt: skip
        assert (result.status, result.attempt) == (RecoveryStatus.ESCALATED, 2)
        assert "no" in next(item.error for item in result.items if not item.ok)


def test_agents_wait_for_a_node_that_can_run_them(config: Config, detector: Detector) -> None:
    """Where there is none, they go on as soon as there is one, with no person doing anything."""
    with (
        scripted(config, "w-a", kinds=("Rare",)) as (a,),
        healing(config, NodeFailure(patience_s=0.5)),
    ):
        a.has_many(["rare-1", "rare-2"], kind="Rare")
        a.die()
        dead = death(a)
        detector.report(dead)
        eventually(lambda: "escalated" in actions(config, dead), 20, "a person is told")
        with scripted(config, "w-b", kinds=("Rare",)) as (b,):
            result = detector.ended(dead)
            assert result.status is RecoveryStatus.SUCCEEDED, result
            assert starts(b) == {"rare-1": 1, "rare-2": 1}
        eventually(
            lambda: (
                actions(config, dead)[-2:] == ["recovery.finished", "notified"]
                or "escalation.closed" in actions(config, dead)
            ),
            10,
            "the escalation is closed",
        )


def test_an_agent_that_kills_its_nodes_is_quarantined(config: Config, detector: Detector) -> None:
    """After three nodes in a row; those that moved along with it are not."""
    killer, others = "q-killer", [f"q-{n}" for n in range(5)]
    names = ["q-a", "q-b", "q-c", "q-d", "q-e"]
    with (
        scripted(config, *names, kinds=("Wild",)) as nodes,
        healing(config, NodeFailure()),
    ):
        nodes[0].has_many([killer, *others], kind="Wild", step=0)
        for node in nodes:
            node.steps = dict.fromkeys(others, 1)
        died = 0
        at = nodes[0]
        while True:
            at.die()
            died += 1
            dead = death(at)
            detector.report(dead)
            result = detector.ended(dead, 60)
            place = next((n for n in nodes if n.running and killer in n.agents), None)
            if place is None:
                break
            at = place
        assert died == 3
        assert result.status is RecoveryStatus.ESCALATED
        assert [item.agent_id for item in result.items if not item.ok] == [killer]
        routes = Routes(config)
        routes.wait()
        quarantined = [r.agent_id for r in routes.all() if r.status is RouteStatus.QUARANTINED]
        routes.close()
        assert quarantined == [killer]
        assert all(any(agent in n.agents for n in nodes if n.running) for agent in others)


def test_nodes_that_die_before_they_can_tell_count_as_well(
    config: Config, detector: Detector
) -> None:
    """Neither reply nor route says that they had the agent: that they were told to start it does.
    Whoever told them leaves it to the failures of those nodes.
    """
    killer, other = "d-killer", "d-other"

    def deadly(node: ScriptedNode, command: Command, agent: str) -> str:
        if agent == killer and command.kind is CommandKind.START:
            node.stop()
            return "dead"
        return ""

    with (
        scripted(config, "d-a", "d-b", "d-c", "d-d", "d-e", kinds=("Deadly",)) as nodes,
        healing(config, NodeFailure()),
        contextlib.closing(Routes(config)) as routes,
    ):
        for node in nodes:
            node.script, node.steps = deadly, {other: 1}
        nodes[0].has_many([killer, other], kind="Deadly", step=0)
        nodes[0].die()
        told: dict[str, FailureEvent] = {}
        while (route := routes.get(killer)) is None or route.status is RouteStatus.RUNNING:
            for node in nodes:
                if not node.running and node.node_id not in told:
                    told[node.node_id] = death(node)
                    detector.report(told[node.node_id])
            assert len(told) <= 3, "it is moved on and on"
            routes.read(0.02)
        assert route.status is RouteStatus.QUARANTINED
        assert [detector.ended(each).status for each in told.values()] == [
            RecoveryStatus.SUCCEEDED, RecoveryStatus.SUCCEEDED, RecoveryStatus.ESCALATED
        ]  # fmt: skip
        assert any(other in n.agents for n in nodes if n.running)


class Flaky:
    """A user's strategy: fails so often, then succeeds."""

    name = "flaky"
    priority = 1

    def __init__(self, failures: int) -> None:
        self.left = failures
        self.seen: list[tuple[str, float]] = []

    def can_handle(self, failure_type: FailureType) -> bool:
        return failure_type is FailureType.TIMEOUT

    def recover(self, failure: FailureEvent, context: Context) -> Result:
        self.seen.append((failure.failure_id, time.monotonic()))
        context.step("try", self._act)
        return Result(success=True, message="done")

    def _act(self, detail: dict[str, object]) -> None:
        if self.left:
            self.left -= 1
            raise Unavailable("not yet")


def test_an_attempt_that_fails_is_made_again(config: Config, detector: Detector) -> None:
    """The outcome names both attempts, with the steps of each."""
    strategy = Flaky(1)
    with healing(config, strategy, patience=QUICK):
        reported = failure(FailureType.TIMEOUT, "agent:flaky")
        detector.report(reported)
        result = detector.ended(reported)
        assert (result.status, result.attempt) == (RecoveryStatus.SUCCEEDED, 2)
        assert [(s.name, s.state.value) for s in result.steps[1:]] == [
            ("1.try", "FAILED"), ("1.result", "DONE"), ("2.try", "DONE"), ("2.result", "DONE"),
        ]  # fmt: skip


def test_a_failure_that_clears_first_is_skipped_and_a_repeat_is_one(
    config: Config, detector: Detector
) -> None:
    """Nothing is done about what is over; the same id is the same failure, whoever says it."""
    strategy = Flaky(0)
    limits = Limits(component=Rate(burst=1, every_s=1.5))
    with healing(config, strategy, limits=limits):
        first, second = (failure(FailureType.TIMEOUT, "agent:once") for _ in range(2))
        detector.report(first, first, second)
        assert detector.ended(first).status is RecoveryStatus.SUCCEEDED
        # The second has to wait for its turn, and is over before it comes.
        detector.clears(second)
        assert detector.ended(second).status is RecoveryStatus.SKIPPED
        detector.report(first)
        time.sleep(0.3)
        assert [failure_id for failure_id, _ in strategy.seen] == [first.failure_id]


def test_what_was_over_long_ago_is_forgotten(config: Config, detector: Detector) -> None:
    """An outcome goes once its failure's own record is gone, too; one of today stays."""
    sender = Sender(config)
    old, new = (failure(FailureType.TIMEOUT, f"agent:{age}") for age in ("old", "new"))
    for each, days in ((old, 40), (new, 1)):
        at = wall_ms() - days * 86_400_000
        over = msgspec.structs.replace(
            first_result(each, at), status=RecoveryStatus.SUCCEEDED, finished_at=at
        )
        sender.put("outcomes", each.failure_id, over, by=each.component)
    sender.close()
    left: set[str] = set()

    def gone() -> bool:
        feed = Feed(config, "outcomes")
        left.clear()
        for message in feed.read_all():
            key = (message.key() or b"").decode()
            (left.discard if message.value() is None else left.add)(key)
        feed.close()
        return old.failure_id not in left

    with healing(config):
        eventually(gone, 30, "the old one is forgotten", 0.5)
    assert new.failure_id in left
