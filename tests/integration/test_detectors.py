"""Detectors as processes, on a real broker, with nodes whose heartbeats the test writes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import headwater
from headwater import Config
from headwater.clock import wall_ms
from headwater.fleet.feed import Sender
from headwater.fleet.records import Route, RouteStatus, Severity
from headwater.topics import connect_fleet
from tests.support.audited import answering, spoil
from tests.support.clusters import Kafka, fresh_config
from tests.support.fleetlings import agent, has, kind, sees
from tests.support.hearts import Heart, Reports, beating
from tests.support.processes import Program, Programs, eventually, programs
from tests.support.stage import compacting

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

PARTITIONS = 4
NODES = ("ada", "bob", "cyd", "dan")


@pytest.fixture
def fleet(headwater_kafka: Kafka) -> Config:
    """Fresh topics for one test."""
    config = fresh_config(headwater_kafka)
    connect_fleet(config)
    return config


@pytest.fixture
def started(fleet: Config, tmp_path: Path) -> Iterator[Programs]:
    """Programs of one test."""
    with programs(fleet, tmp_path) as running:
        yield running


@pytest.fixture
def reports(fleet: Config) -> Iterator[Reports]:
    """What detectors say."""
    made = Reports(fleet)
    yield made
    made.close()


@pytest.fixture
def heart(fleet: Config) -> Iterator[Heart]:
    """Four nodes that beat."""
    with beating(fleet, *NODES) as made:
        yield made


def detector(started: Programs, name: str = "watcher", *options: str, **env: str) -> Program:
    """A detector that has its partitions."""
    program = started.start(name, "consumers.detectors", list(options), **env)
    eventually(lambda: "responsible" in program.tail(), 20, "it is in the group")
    return program


def test_a_node_that_falls_silent_is_reported_once_and_resolved(
    started: Programs, reports: Reports, heart: Heart
) -> None:
    """With the id that its last heartbeat makes, in the audit too; and no other node is blamed."""
    program = detector(started)
    time.sleep(1.0)
    process = psutil.Process(program.pid)
    before, at = sum(process.cpu_times()[:2]), time.monotonic()
    delays = []
    for node_id in ("ada", "bob", "cyd"):
        last_s = heart.kill(node_id)
        failure = reports.wait(f"node:{node_id}")
        delays.append(time.monotonic() - last_s)
        assert failure.context["sequence"] == heart.sequence(node_id)
        assert (failure.type, failure.detected_by) == ("NODE_FAILURE", "watcher")
    time.sleep(1.0)
    cpu = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - at)
    print(f"silent for {[round(d * 1000) for d in delays]} ms, detector's CPU {cpu:.1%}")
    heart.silent.discard("ada")
    heart.restart("bob")
    assert (
        reports.wait("node:ada", resolved=True).failure_id == reports.of("node:ada")[0].failure_id
    )
    assert reports.wait("node:bob", resolved=True).resolved_at
    time.sleep(1.0)
    assert [len(reports.of(f"node:{n}")) for n in NODES] == [2, 2, 1, 0]
    assert len([a for a in reports.audit if a.action == "failure.detected"]) == 3
    assert len([a for a in reports.audit if a.action == "failure.resolved"]) == 2
    assert statistics.median(delays) < 2.0
    program.end()


def test_of_two_detectors_one_reports_and_the_other_takes_over(
    started: Programs, reports: Reports, heart: Heart
) -> None:
    """Each failure once, also after one of them was killed, and when it is started again."""
    first, second = detector(started, "first"), detector(started, "second")
    eventually(lambda: "responsible for partitions [" in second.tail(), 20, "it has a share")
    heart.kill("ada")
    heart.kill("bob")
    reports.wait("node:ada")
    reports.wait("node:bob")
    first.kill()
    heart.kill("cyd")
    heart.kill("dan")
    reports.wait("node:cyd")
    reports.wait("node:dan")
    detector(started, "third")
    time.sleep(3.0)
    assert [len(reports.of(f"node:{n}")) for n in NODES] == [1, 1, 1, 1]
    heart.silent.clear()
    for node_id in NODES:
        reports.wait(f"node:{node_id}", resolved=True)
    second.end()


def test_a_detector_that_is_killed_in_the_midst_of_reporting_loses_and_repeats_nothing(
    started: Programs, reports: Reports, heart: Heart
) -> None:
    """Before the event was sent, and after it was acknowledged."""
    for node_id, place in (("ada", "detector.audited"), ("bob", "detector.after_emit")):
        doomed = detector(started, f"doomed-{node_id}", HEADWATER_CRASH_AT=place)
        heart.kill(node_id)
        doomed.await_crash()
    detector(started)
    reports.wait("node:ada")
    time.sleep(2.0)
    assert [len(reports.of(f"node:{n}")) for n in NODES] == [1, 1, 0, 0]
    assert {a.failure_id for a in reports.audit} == {f.failure_id for f in reports.failures}


def test_a_detector_that_was_stopped_blames_nobody_and_goes_on(
    started: Programs, reports: Reports, heart: Heart
) -> None:
    """Longer than the lease, with the nodes beating on, and with the nodes stopped, too."""
    program = detector(started)
    time.sleep(1.0)
    for with_nodes in (False, True):
        program.pause()
        if with_nodes:
            heart.silent |= set(NODES)
        time.sleep(2.0)
        heart.silent.clear()
        program.resume()
        time.sleep(2.0)
    assert reports.of("node:ada") == []
    assert reports.failures == []
    heart.kill("cyd")
    reports.wait("node:cyd")


def test_a_node_that_died_while_no_detector_ran_is_found(
    started: Programs, reports: Reports, heart: Heart, fleet: Config
) -> None:
    """By the routes that lead to it; a node without agents is nobody's loss."""
    sender = Sender(fleet)
    for agent_id, node_id in (("a", "gone"), ("b", "gone"), ("c", "ada")):
        route = Route(agent_id=agent_id, kind="K", node_id=node_id, incarnation=b"x" * 16, epoch=1)
        sender.put("routes", agent_id, route)
    stopped = Route(agent_id="d", kind="K", node_id="done", epoch=1, status=RouteStatus.STOPPED)
    sender.put("routes", "d", stopped)
    detector(started)
    failure = reports.wait("node:gone")
    assert (failure.context["agents"], failure.context["sequence"]) == (2, -1)
    time.sleep(1.5)
    assert len(reports.failures) == 1


def test_what_heartbeats_say_is_judged(started: Programs, reports: Reports, heart: Heart) -> None:
    """A link cut one way, memory that runs out, and a step that hangs; each resolved after it."""

    def say(cut: str = "", memory: float = 0.1, began: int = 0) -> None:
        seen = {node_id: node_id != cut for node_id in NODES if node_id != "ada"}
        busy = agent("busy", epoch=2, step=5, step_started_at=began)
        own: dict[str, dict[str, Any]] = {
            "ada": {"peers": sees(**seen)},
            "bob": {"resources": has(memory=memory)},
            "dan": {"kinds": [kind(deadline_ms=1000)], "agents": [busy]},
        }
        for node_id in NODES:
            heart.says[node_id] = {"agents_complete": True} | own.get(node_id, {})

    say()
    detector(started)
    say(cut="cyd", memory=0.97, began=wall_ms())
    # Of two that do not reach each other the rest still reaches both: that is no partition.
    assert reports.wait("node:bob").severity is Severity.CRITICAL
    hung = reports.wait("agent:busy")
    assert (hung.type, hung.context["deadline_ms"]) == ("TIMEOUT", 1000)
    say()
    reports.wait("node:bob", resolved=True)
    reports.wait("agent:busy", resolved=True)
    for node_id in NODES:
        others = {other: "cyd" not in (node_id, other) for other in NODES if other != node_id}
        heart.says[node_id] = {"agents_complete": True, "peers": sees(**others)}
    assert reports.wait("partition:cyd").context["majority"] == ["ada", "bob", "dan"]
    say()
    reports.wait("partition:cyd", resolved=True)
    assert len(reports.failures) == 6
    assert [a.action for a in reports.audit].count("failure.resolved") == 3


def test_states_are_audited(
    started: Programs, reports: Reports, heart: Heart, fleet: Config
) -> None:
    """A snapshot with a flipped byte, a status that is not declared, and an owner that has another
    state than the log: each found, and only there.
    """
    ways = {"new": ["thinking"], "thinking": ["acting", "done"], "acting": ["thinking"]}
    kinds = [kind(transitions=ways)]
    heart.says["ada"] = {"agents_complete": True, "kinds": kinds}
    sender = Sender(fleet)
    with headwater.connect(fleet) as client, compacting(fleet):
        for name, statuses in {
            "fine": ("thinking", "acting", "thinking", "done"),
            "strays": ("thinking", "done", "acting"),
            "spoilt": ("thinking",),
            "differs": ("thinking",),
        }.items():
            with client.agent(name) as session:
                for status in statuses:
                    with session.change() as state:
                        state.status = status
            route = Route(agent_id=name, kind="K", node_id="ada", epoch=1)
            sender.put("routes", name, route)
        wrong = {"differs": "0" * 64}
        with answering(fleet, PARTITIONS, "ada", wrong):
            detector(started, "watcher", "--audit-after", "1s")
            eventually(lambda: spoil(fleet, PARTITIONS, "spoilt"), 10, "it has a snapshot")
            assert reports.wait("agent:spoilt").type == "STATE_CORRUPTION"
            strayed = reports.wait("agent:strays")
            assert (strayed.context["check"], strayed.context["version"]) == ("transitions", 3)
            differs = reports.wait("agent:differs")
            assert (differs.type, differs.context["found"]) == ("DATA_INCONSISTENCY", "0" * 64)
            assert reports.of("agent:fine") == []
            wrong.clear()
            reports.wait("agent:differs", resolved=True)
    sender.close()
