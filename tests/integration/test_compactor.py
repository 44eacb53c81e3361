"""The compactor against a real broker: killed, shared, held up, and always right in the end."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.log.chain import partition_of
from headwater.wire import MARKER, codec
from streams.snapshots import Bounds, ChainLength, Compactor, Outweigh
from tests.support.clusters import Kafka, fresh_config
from tests.support.compaction import Author
from tests.support.processes import eventually, programs
from tests.support.stage import PATIENCE_S, Stage, compacting, writing

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

PARTITIONS = 4
COMMIT_POINTS = ("snapshots_flushed", "index_written", "before_commit", "after_commit")


@pytest.fixture
def stage(headwater_kafka: Kafka) -> Iterator[Stage]:
    """Fresh topics for one test."""
    made = Stage(fresh_config(headwater_kafka, partitions=PARTITIONS))
    yield made
    made.close()


def test_everything_written_is_committed_and_proves_right(stage: Stage) -> None:
    """One instance, all partitions: index, snapshots and position are what the log says."""
    with compacting(stage.config) as compactor, writing(stage, random.Random(1)) as count:
        eventually(lambda: count[0] > 200, PATIENCE_S, "200 records")
        eventually(lambda: compactor.stats().counts.commits > 8, PATIENCE_S, "8 commits")
    stage.check()
    with compacting(stage.config):
        stage.await_end()
    stage.check()


def test_a_claim_alone_reaches_the_index(stage: Stage) -> None:
    """Who owns an agent can be seen without reading events."""
    with compacting(stage.config):
        stage.author("a")
        stage.await_end()
        entry = stage.entry("a")
        assert entry is not None
        assert (entry.head.owned, entry.snapshots) == (True, ())
    stage.check()


def test_a_deleted_agent_leaves_a_head(stage: Stage) -> None:
    """It lists no snapshots, and its head stays."""
    with compacting(stage.config):
        for text in ("1", "2"):
            stage.say("a", text)
            stage.await_end()
        stage.write("a", stage.author("a").raw("DELETE"))
        stage.await_end()
    entry = stage.entry("a")
    assert entry is not None
    assert (entry.head.deleted, entry.snapshots) == (True, ())
    stage.check()


@pytest.mark.parametrize(
    ("strategy", "longest"), [(Outweigh(increments=5), 6), (ChainLength(longest=3), 5)]
)
def test_chains_stay_within_their_strategys_bound(
    stage: Stage, strategy: Any, longest: int
) -> None:
    """One commit after each change, thirty times over."""
    with compacting(stage.config, strategy=strategy) as compactor:
        stage.say("a", "x" * 5000)
        stage.await_end()
        for n in range(12):
            before = compactor.stats().counts.commits
            stage.say("a", str(n))
            eventually(lambda b=before: compactor.stats().counts.commits > b, 20, "a commit")  # type: ignore[misc]
        stage.await_end()
        counts = compactor.stats().counts
    assert counts.longest_chain <= longest
    assert counts.merges + counts.fulls > 1
    stage.check()


@pytest.mark.fault
def test_kills_inside_commits_leave_no_trace(stage: Stage, tmp_path: Path) -> None:
    """Killed at every named point in turn, again and again, while agents work."""
    seed = secrets.randbits(32)
    print("seed", seed)
    rng = random.Random(seed)
    with programs(stage.config, tmp_path) as started, writing(stage, rng, 0.02):
        for round_, point in enumerate(COMMIT_POINTS * 2):
            name = f"compactor-{round_}"
            at = f"compactor.{point}:{rng.randrange(1, 12)}"
            started.compactor(name, HEADWATER_CRASH_AT=at).await_crash(60)
            stage.check()
    with compacting(stage.config) as compactor:
        stage.await_end()
        assert compactor.stats().counts.rebuilt == 0
    stage.check()


@pytest.mark.fault
def test_a_transaction_left_open_is_aborted_by_whoever_takes_over(
    stage: Stage, tmp_path: Path
) -> None:
    """Killed before its commit, it hides nothing from readers once there is a successor."""
    stage.say("a", "1")
    with programs(stage.config, tmp_path) as started:
        started.compactor("first", HEADWATER_CRASH_AT="compactor.before_commit:1").await_crash()
        assert stage.entry("a") is None
        started.compactor("second")
        stage.await_end()
    assert stage.entry("a") is not None
    stage.check()


@pytest.mark.fault
def test_without_the_takeovers_init_transactions_readers_would_see_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    """The test above can fail: with the switch set, the dead one's transaction hides the new."""
    stage.say("a", "1")
    with programs(stage.config, tmp_path) as started:
        started.compactor("first", HEADWATER_CRASH_AT="compactor.before_commit:1").await_crash()
        started.compactor("second", HEADWATER_TEST_SABOTAGE="no-init-transactions")
        with pytest.raises(AssertionError, match="an entry"):
            eventually(lambda: stage.entry("a") is not None, 5, "an entry", step_s=0.1)


def _assigned(*compactors: Compactor) -> list[set[int]]:
    return [set(compactor.stats().partitions) for compactor in compactors]


def test_instances_share_the_partitions_and_take_over_from_each_other(stage: Stage) -> None:
    """One joins, one leaves, under load: no gap, and nothing twice."""
    everything = set(range(PARTITIONS))

    def shared(*compactors: Compactor) -> Callable[[], bool]:
        def true() -> bool:
            sets = _assigned(*compactors)
            return all(sets) and set.union(*sets) == everything and sum(map(len, sets)) == 4

        return true

    with writing(stage, random.Random(2)):
        with compacting(stage.config) as first:
            eventually(shared(first), PATIENCE_S, "one has all")
            with compacting(stage.config) as second:
                eventually(shared(first, second), PATIENCE_S, "both have some")
                before = second.stats().counts.commits
                eventually(
                    lambda: second.stats().counts.commits > before + 3, PATIENCE_S, "commits"
                )
                stage.check()
            eventually(shared(first), PATIENCE_S, "the first has all again")
            stage.check()
        with compacting(stage.config) as third:
            eventually(shared(third), PATIENCE_S, "the third has all")
            eventually(lambda: third.stats().counts.commits > 4, PATIENCE_S, "commits")
    with compacting(stage.config):
        stage.await_end()
    stage.check()


@pytest.mark.fault
@pytest.mark.parametrize("point", ["before_revoke_commit", "after_revoke_commit"])
def test_a_kill_in_the_middle_of_giving_up_loses_nothing(
    stage: Stage, tmp_path: Path, point: str
) -> None:
    """Whoever is next starts from what was committed, whichever that is."""
    with programs(stage.config, tmp_path) as started, writing(stage, random.Random(3)):
        first = started.compactor("first", HEADWATER_CRASH_AT=f"compactor.{point}:1")
        eventually(lambda: stage.position(0) > 5, PATIENCE_S, "some commits", step_s=0.1)
        started.compactor("second")
        first.await_crash(60)
    with compacting(stage.config):
        stage.await_end()
    stage.check()


@pytest.mark.fault
def test_a_frozen_instance_that_wakes_up_writes_nothing_more(stage: Stage, tmp_path: Path) -> None:
    """Fenced by its successor, it drops its partitions; it joins again and works on."""
    with programs(stage.config, tmp_path) as started, writing(stage, random.Random(4)):
        first = started.compactor("first")
        eventually(lambda: stage.position(0) > 5, PATIENCE_S, "some commits", step_s=0.1)
        first.pause()
        started.compactor("second")
        before = stage.position(0)
        eventually(lambda: stage.position(0) > before + 20, PATIENCE_S, "the second", step_s=0.1)
        first.resume()
        time.sleep(2.0)
        stage.check()
        assert first.running, first.tail()
    with compacting(stage.config):
        stage.await_end()
    stage.check()


def test_what_nobody_can_read_goes_to_dead_letters_and_stops_nothing(stage: Stage) -> None:
    """Garbage and a record in the wrong partition are set aside, with their place and bytes."""
    author = stage.author("a")
    right = partition_of(b"a", PARTITIONS)
    wrong = (right + 1) % PARTITIONS
    stage.write("a", b"junk")
    misplaced = Author("a").claim()
    stage.write("a", misplaced, partition=wrong)
    stage.write("a", author.say("on it goes"))
    with compacting(stage.config) as compactor:
        stage.await_end()
    # Counts follow the commit that readers see, so they are whole only once it has stopped.
    assert compactor.stats().counts.dead_letters == 2
    letters = [codec("DeadLetter").decode(m.value() or b"") for m in stage.read("dead-letters")]
    by_partition = {letter["partition"]: letter for letter in letters}
    assert by_partition[right]["value"] == b"junk"
    assert by_partition[wrong]["value"] == misplaced
    assert by_partition[wrong]["topic"] == stage.config.topic("events")
    assert "belongs in" in by_partition[wrong]["reason"]
    stage.check()


def test_a_newer_schema_parks_its_partition_and_no_other(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """What came before is committed, nothing behind it is, and the others go on."""
    names = {partition_of(f"n{i}".encode(), PARTITIONS): f"n{i}" for i in range(40)}
    stage.say(names[0], "before")
    at = stage.end(0)
    stage.write(names[0], MARKER + b"newer..." + b"body")
    stage.say(names[0], "behind")
    for p in (1, 2, 3):
        stage.say(names[p], "elsewhere")
    with compacting(stage.config) as compactor:
        stage.await_end(1, 2, 3)
        eventually(lambda: stage.position(0) == at, PATIENCE_S, "all before it", step_s=0.1)
        eventually(lambda: compactor.stats().partitions[0].parked, PATIENCE_S, "it is parked")
        stage.say(names[1], "and on")
        stage.await_end(1)
        assert stage.position(0) == at
    assert f"events[0] is PARKED at offset {at}" in caplog.text
    stage.check()


def test_a_paused_partition_misses_nothing(stage: Stage) -> None:
    """With bounds so low that reading stops and starts again all the time, all is read once."""
    for n in range(300):
        stage.say(f"agent-{n % 7}", "x" * 500)
    bounds = Bounds(commit_bytes=2000, pause_bytes=4000)
    with compacting(stage.config, bounds=bounds) as compactor:
        stage.await_end()
    assert compactor.stats().counts.events == 307
    stage.check()


def test_an_idle_instance_ends_in_order(stage: Stage, tmp_path: Path) -> None:
    """SIGTERM: what is pending is committed, and the exit code is 0."""
    with programs(stage.config, tmp_path) as started:
        program = started.compactor()
        stage.say("a", "1")
        stage.await_end()
        program.end()
        assert "stopped" in program.tail(1)
    stage.check()
