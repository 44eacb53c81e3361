"""Retention against a real broker: what goes is gone, and what was promised comes back."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import consumers.retention.job as module
from consumers.retention import make_plan
from consumers.retention.writer import Writer
from headwater.cli import cli
from headwater.errors import Fenced
from headwater.fleet.audit import read_audit
from headwater.kafka import clients
from headwater.log.notes import Forget, Note, encode_note
from headwater.recovery.travel import at
from headwater.state.model import state_hash
from streams.snapshots import ChainLength, Timing
from tests.support.clusters import Kafka, fresh_config
from tests.support.processes import eventually, programs
from tests.support.pruned import Fleet, compact_at_once, live, now_ms, retention
from tests.support.stage import PATIENCE_S, Stage, compacting

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.fixture
def stage(headwater_kafka: Kafka) -> Iterator[Stage]:
    """Fresh topics for one test."""
    made = Stage(fresh_config(headwater_kafka, partitions=2))
    yield made
    made.close()


@pytest.fixture
def fleet(stage: Stage) -> Iterator[Fleet]:
    """Agents of these topics."""
    seed = secrets.randbits(32)
    print("seed", seed)
    made = Fleet(stage, seed)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("rounds", "some"), [(3, 3), pytest.param(25, 1000, marks=[pytest.mark.long])]
)
def test_pruning_while_agents_work_takes_nothing_that_was_promised(
    stage: Stage, fleet: Fleet, rounds: int, some: int
) -> None:
    """Again and again, with periods of a second: every kept point comes back as it was."""
    # Chains that are replaced all the time.
    busy = {"strategy": ChainLength(longest=2), "timing": Timing(commit_s=0.05)}
    with compacting(stage.config, **busy), retention(stage) as job:
        held = dropped = checked = 0
        with fleet.working():
            for round_ in range(rounds):
                time.sleep(0.6)
                if round_ == 1:
                    name = max(fleet.truth, key=lambda each: len(fleet.truth[each]))
                    fleet.fork(name, "fork", max(fleet.truth[name]) - 3)
                started = now_ms()
                done = job.run(started)
                assert not done.failed
                held += done.held
                dropped += done.plan.total.records
                # What was young when it was pruned is promised; later it need not be.
                checked += fleet.check(started - 900, some=some)
        stage.await_end()
        assert held and dropped and checked > 10 * rounds
        assert any(part.events_start for part in job.plan(now_ms()).partitions)


def test_a_dry_run_changes_nothing_and_says_what_will_be(stage: Stage, fleet: Fleet) -> None:
    """The same figures, agent by agent, and a second pass finds nothing."""
    with compacting(stage.config):
        for _ in range(80):
            fleet.step()
            time.sleep(0.005)
        stage.await_end()
    time.sleep(1.4)
    moment = now_ms()
    before = {topic: live(stage, topic) for topic in ("snapshots", "checkpoints")}
    with retention(stage) as job:
        plan = job.plan(moment)
        assert {topic: live(stage, topic) for topic in before} == before
        assert [part.events_start for part in plan.partitions] == [0, 0]
        done = job.run(moment, measure=True)
        assert (done.failed, done.overtaken) == ([], [])
        assert done.plan.agents == plan.agents
        assert plan.total.records and plan.total.events and plan.total.points
        gone = sum(len(before[topic].keys() - live(stage, topic).keys()) for topic in before)
        assert gone == plan.total.records
        starts = [stage._reader.range(stage.config.topic("events"), p)[0] for p in range(2)]
        assert starts == [part.low_water for part in plan.partitions]
    with retention(stage) as job:
        again = job.run(moment, measure=True)
        assert (again.plan.total.records, again.held, again.plan.total.points) == (0, 0, 0)
    fleet.check(moment)


POINTS = [
    pytest.param(point, marks=[pytest.mark.long] if rare else [])
    for point, rare in [
        ("chunks_written", True),
        ("state_written", True),
        ("before_hold_commit", False),
        ("after_hold_commit", True),
        ("held", True),
        ("tombstones_written", False),
        ("before_commit", True),
        ("after_commit", True),
        ("before_delete_records", True),
        ("after_delete_records", True),
    ]
]


@pytest.mark.fault
@pytest.mark.parametrize("point", POINTS)
def test_one_that_dies_midway_is_completed_by_the_next(
    stage: Stage, fleet: Fleet, tmp_path: Path, point: str
) -> None:
    """Killed at a named point: nothing that was promised is lost, and the next pass does the rest
    without waiting for the one that died.
    """
    options = ["--interval", "60", "--history", "1", "--grace", "0.2", "--compress-after", "0.5"]
    with (
        compacting(stage.config),
        retention(stage) as job,
        programs(stage.config, tmp_path) as started,
    ):
        for name in ("agent-0", "agent-1"):
            for n in range(20):
                fleet.write(name, "SAY", b"x" * n)
            fleet.write(name, "CHECKPOINT", encode_note(Note(id="keep", type="manual")))
            fleet.write(name, "CHECKPOINT", encode_note(Note(id="forget", type="manual")))
            fleet.write(name, "CHECKPOINT", encode_note(Forget(forget="forget")))
        stage.await_end()
        time.sleep(1.4)
        crash = {"HEADWATER_CRASH_AT": f"retention.{point}:1"}
        started.start(point, "consumers.retention", options, **crash).await_crash()
        began = time.monotonic()
        assert not job.run(now_ms()).failed
        assert time.monotonic() - began < 5
        assert (job.run(now_ms()).held, len(live(stage, "checkpoints"))) == (0, 4)
        assert fleet.check(now_ms()) == 4


def test_given_up_checkpoints_go_and_take_their_states_along(stage: Stage, fleet: Fleet) -> None:
    """After it was held by itself and then forgotten, nothing of a checkpoint is left."""
    with compacting(stage.config), retention(stage) as job:
        fleet.write("a", "SAY", b"1")
        fleet.write("a", "CHECKPOINT", encode_note(Note(id="keep", type="manual")))
        fleet.write("a", "SAY", b"2")
        stage.await_end()
        time.sleep(0.6)
        assert job.run(now_ms()).held == 1
        assert {b"a\0keep", b"a\0keep\0state"} <= live(stage, "checkpoints").keys()
        assert b"a\x001-1\0c" in live(stage, "snapshots")
        fleet.write("a", "CHECKPOINT", encode_note(Forget(forget="keep")))
        stage.await_end()
        job.run(now_ms())
        assert not live(stage, "checkpoints")
        assert b"a\x001-1\0c" not in live(stage, "snapshots")


def test_a_large_state_is_held_in_chunks(stage: Stage, fleet: Fleet) -> None:
    """A state of megabytes that do not compress comes back from the checkpoint's own records."""
    noise = [secrets.token_bytes(300_000).hex() for _ in range(4)]
    with compacting(stage.config), retention(stage) as job:
        for text in noise:
            fleet.write("a", "SAY", text.encode())
        fleet.write("a", "CHECKPOINT", encode_note(Note(id="keep", type="manual")))
        stage.await_end()
        time.sleep(0.6)
        done = job.run(now_ms())
        assert (done.held, done.failed) == (1, [])
        assert b"a\x004-4\0c\x001" in live(stage, "snapshots")
        found = at(fleet.recovery, "a", "keep")
        assert found.state_hash == fleet.truth["a"][4][0]
        assert found.snapshots <= 4


def test_a_fork_made_meanwhile_holds_a_prune_up(
    stage: Stage, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What refers to a record after the plan was made, and before it is carried out, wins."""
    with compacting(stage.config):
        for n in range(30):
            fleet.write("a", "SAY", b"x" * (10 * n))
            if n % 5 == 4:  # a commit for each few, so that chains are replaced
                stage.await_end()
        oldest = 2
        time.sleep(1.3)
        with retention(stage) as job:
            before = live(stage, "snapshots")
            original = make_plan

            def late(*args: Any) -> Any:
                plan = original(*args)
                if "fork" not in stage.authors:
                    fleet.fork("a", "fork", oldest)
                return plan

            monkeypatch.setattr(module, "make_plan", late)
            done = job.run(now_ms())
            assert done.plan.total.records and done.overtaken
            assert live(stage, "snapshots").keys() >= before.keys()
            stage.await_end()
            done = job.run(now_ms())
            assert not done.overtaken
        expected = fleet.truth["a"][oldest]
        found = fleet.recovery.recover("fork")
        assert found.version == 1
        assert state_hash("a", found.agent.document) == expected[0]


def test_tombstoned_bytes_go_and_kept_ones_stay(stage: Stage, fleet: Fleet) -> None:
    """Once the broker has compacted, only what was to be kept is in the log."""
    with compacting(stage.config):
        for _ in range(60):
            fleet.step()
            time.sleep(0.01)
        stage.await_end()
    time.sleep(1.3)
    with retention(stage) as job:
        assert job.run(now_ms()).plan.total.records
    kept = live(stage, "snapshots")
    topic = stage.config.topic("snapshots")
    compact_at_once(stage, topic)

    def records() -> set[bytes]:
        found = [m for p in range(2) for m in stage.read("snapshots", p)]
        return {m.key() or b"" for m in found if m.value() is not None}

    def compacted() -> bool:
        for partition in range(2):
            producer.produce(topic, b"", b"!filler", partition=partition)
        producer.flush(10)
        return records() - {b"!filler"} == kept.keys()

    producer = clients.producer(stage.config)
    eventually(compacted, PATIENCE_S, "compaction", step_s=0.3)
    fleet.check(now_ms())


def test_of_two_instances_one_acts(stage: Stage, fleet: Fleet) -> None:
    """One that begins a pass shuts the other out, which is told, and can begin again."""
    fleet.write("a", "SAY", b"1")
    with compacting(stage.config), retention(stage) as one, retention(stage) as other:
        stage.await_end()
        writer = Writer(stage.config)
        try:
            assert other.run(now_ms()).overtaken == []
            with pytest.raises(Fenced), writer.transaction():
                writer.put("checkpoints", 0, b"!late", b"")
        finally:
            writer.close()
        assert one.run(now_ms()).overtaken == []
    assert b"!late" not in {m.key() for m in stage.read("checkpoints", 0)}


def test_prune_shows_and_asks_and_does(stage: Stage, fleet: Fleet) -> None:
    """The command changes nothing in a dry run or where nobody agrees, and then what it said."""
    with compacting(stage.config):
        fleet.write("a", "SAY", b"1")
        for note in (Note(id="x", type="manual"), Forget(forget="x")):
            fleet.write("a", "CHECKPOINT", encode_note(note))
        stage.await_end()
    environment = {
        "HEADWATER_BOOTSTRAP_SERVERS": stage.config.bootstrap_servers,
        "HEADWATER_PREFIX": stage.config.prefix,
    }

    def run(*arguments: str) -> Result:
        command = ["prune", *arguments]
        return CliRunner().invoke(cli, command, env=environment, prog_name="headwater")

    dry = run("--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "would go: 1 record" in dry.stderr
    assert run().exit_code == 2
    assert live(stage, "checkpoints").keys() == {b"a\0x"}
    done = run("--json", "--yes", "--reason", "a test")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert (shown["done"], shown["total"]["records"], shown["reason"]) == (True, 1, "a test")
    assert shown["agents"][0]["agent_id"] == "a"
    (kept,) = read_audit(stage.config)
    assert (kept.action, kept.reason, kept.detail["records"]) == ("pruned", "a test", 1)
    assert not live(stage, "checkpoints")
    again = json.loads(run("--json", "--yes").stdout)
    assert (again["done"], again["total"]["records"]) == (False, 0)


def test_the_app_makes_passes_until_it_is_told_to_end(
    stage: Stage, fleet: Fleet, tmp_path: Path
) -> None:
    """SIGTERM ends it with 0, in the midst of its wait for the next pass."""
    with compacting(stage.config), programs(stage.config, tmp_path) as started:
        options = ["retain", "--interval", "300ms"]
        program = started.start("retention", "headwater", options)
        for note in (Note(id="x", type="manual"), Forget(forget="x")):
            fleet.write("a", "CHECKPOINT", encode_note(note))
        marker = b"!retention"
        eventually(
            lambda: marker in {m.key() for p in range(2) for m in stage.read("checkpoints", p)},
            PATIENCE_S,
            "a pass that did something",
        )
        program.end(10)
    assert not live(stage, "checkpoints")
