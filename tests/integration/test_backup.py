"""A backup beside running agents and compactors: killed, and needed."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

import headwater
from consumers.backup import status
from consumers.retention import BACKUP_KEY, decode_pin
from headwater import Config
from headwater.backup import Archive
from headwater.backup.prove import Proved, prove
from headwater.backup.target import Target
from headwater.kafka import clients
from headwater.kafka.reader import Reader
from headwater.local import LocalKafka
from headwater.log.chain import partition_of
from headwater.log.snapshots import POSITION_KEY
from headwater.tiers import open_tier
from streams.snapshots.store import encode_position
from streams.snapshots.tracked import Position
from tests.support.clusters import Kafka, fresh_config
from tests.support.fleet import await_compacted
from tests.support.processes import eventually, programs
from tests.support.restoring import backing_up, command, complete_since, hashes, once, restored
from tests.support.sessions import append
from tests.support.stage import Stage, compacting, writing

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

POINTS = ("backup.before_save", "backup.after_save", "backup.after_pin")


@pytest.mark.parametrize(("kind", "points"), [("file", POINTS), ("sqlite", POINTS[1:2])])
def test_killed_again_and_again_it_copies_everything_once(
    kind: str, points: tuple[str, ...], headwater_kafka: Kafka, tmp_path: Path
) -> None:
    """While agents run: each record is in exactly one segment that counts, and the tier alone
    proves all agents, and fills a new cluster with them.
    """
    config = fresh_config(headwater_kafka)
    url = str(tmp_path / "b") if kind == "file" else f"sqlite:///{tmp_path}/b.db"
    stage = Stage(config)
    task = ["--to", url, "--interval", "0.1s", "--segment-bytes", "20000"]
    with programs(config, tmp_path) as started, compacting(config):
        with writing(stage, random.Random(4)) as counter:
            for number, point in enumerate(points):
                dying = started.start(
                    f"b-{number}", "consumers.backup", task, HEADWATER_CRASH_AT=f"{point}:3"
                )
                dying.await_crash()
            last = started.start("b-last", "consumers.backup", [*task, "--json-stats"])
            eventually(lambda: counter[0] > 150, 30, "enough was written")
        await_compacted(config, stage.partitions)
        eventually(lambda: _behind(config, url) == 0, 20, "all is copied", step_s=0.2)
        last.end()
    _check_exactly_once(stage, url)
    with open_tier(url) as tier:
        proved = list(prove(Archive(tier)))
    assert proved
    assert all(isinstance(p, Proved) and p.problem is None for p in proved)
    new = fresh_config(headwater_kafka, partitions=None)
    restored(new, url)
    with headwater.connect(config) as here, headwater.connect(new) as there:
        assert hashes(there) == hashes(here)
    stage.close()


def _behind(config: Config, url: str) -> int:
    with open_tier(url) as tier:
        return sum(p.lag_records or 0 for p in status(config, tier).partitions)


def _check_exactly_once(stage: Stage, url: str) -> None:
    with open_tier(url) as tier:
        archive = Archive(tier)
        for partition in range(stage.partitions):
            chain = archive.chain(partition)
            assert [n.first for n in chain[1:]] == [n.after for n in chain[:-1]]
            copied = [
                item.offset for n in chain for item in archive.read(n).items if item.topic == 1
            ]
            assert copied == [m.offset() for m in stage.read("snapshots", partition)]
            pins = [m for m in stage.read("checkpoints", partition) if m.key() == BACKUP_KEY]
            pin = decode_pin(pins[-1].value() or b"")
            assert pin.snapshots == chain[-1].after.snapshots
            assert pin.events == archive.position(partition) == stage.position(partition)


def test_a_compactor_takes_over_a_log_that_begins_late(headwater_kafka: Kafka) -> None:
    """Where events were deleted, as a restore leaves it, and retention: at every takeover."""
    config = fresh_config(headwater_kafka)
    stage = Stage(config)
    target = Target(config, stage.partitions)
    assert target.empty_events() == [1] * stage.partitions
    for line in target.lines("index"):
        value = encode_position(line.partition, Position(next_offset=1), "restored")
        target.put(line, POSITION_KEY, value, None)
    target.settle()
    for turn in range(4):
        with compacting(config):
            for number in range(8):
                stage.say(f"agent-{number}", f"in turn {turn}")
            stage.await_end()
    target.close()
    stage.close()


def test_the_whole_cluster_is_lost(tmp_path: Path) -> None:
    """A backup runs beside agents; the brokers are killed and their data deleted. The command line
    fills new ones, and replaying what comes after proves every agent.
    """
    url, partitions = str(tmp_path / "b"), 2
    with LocalKafka(data_dir=tmp_path / "old") as kafka:
        config = fresh_config(kafka, partitions=partitions)
        with headwater.connect(config) as hw, compacting(config), backing_up(config, url) as stats:
            for name in ("a", "b", "c"):
                with hw.agent(name, session="s") as agent:
                    for n in range(4):
                        append(agent, n)
            await_compacted(config, hw.partitions)
            before, now = hashes(hw), time.monotonic()
            eventually(lambda: complete_since(stats(), now), 20, "all is copied")
        kafka.kill(1)
    shutil.rmtree(tmp_path / "old")
    assert command(config, "backup", "verify", "--to", url)["damaged"] == []
    with LocalKafka(data_dir=tmp_path / "new") as kafka:
        config = config.with_(bootstrap_servers=kafka.bootstrap_servers, partitions=None)
        place = ("restore-cluster", "--from", url)
        assert command(config, *place, "--dry-run")["agents"] == 3
        assert command(config, *place, "--yes")["lost"] == []
        with headwater.connect(config) as there:
            assert hashes(there) == before
            with there.agent("b", session="s") as agent:
                append(agent, "afterwards")
        assert all(row["ok"] for row in command(config, "verify"))
        again = str(tmp_path / "again")
        assert command(config, "backup", "once", "--to", again)["records"] >= 6
        assert command(config, "backup", "status", "--to", again)["lag_records"] == 0


def test_recovery_finds_what_the_cluster_lost(headwater_kafka: Kafka, tmp_path: Path) -> None:
    """An agent whose snapshots are gone, and its events with them, is had from the backup, or
    from the replica; what was tried is listed.
    """
    config = fresh_config(headwater_kafka)
    url, replica = str(tmp_path / "b"), str(tmp_path / "r")
    with headwater.connect(config) as hw, compacting(config):
        for name in ("lost", "kept"):
            with hw.agent(name, session="s") as agent:
                for n in range(5):
                    append(agent, n)
        await_compacted(config, hw.partitions)
        before = hashes(hw)
    with open_tier(replica) as tier:
        once(config, url, replica=tier)
    _erase(config, "lost", hw.partitions)
    with headwater.connect(config) as there, pytest.raises(headwater.HeadwaterError):
        there.recover("lost")
    for setting in ({"backup": url}, {"replica": replica}):
        with headwater.connect(config.with_(**setting)) as there:
            found = there.recover("lost")
            assert (found.head.hash, found.state_hash) == before["lost"][:2]
            assert [str(t) for t in found.tried][-1].startswith(next(iter(setting)))
            assert hashes(there) == before


def _erase(config: Config, name: str, partitions: int) -> None:
    """An agent's partitions of snapshots and events lose all that they hold."""
    admin = clients.admin(config)  # held: what is under way ends with its client
    partition = partition_of(name.encode(), partitions)
    _clean_up_by(admin, config, "delete")
    reader = Reader(config, clients.SCANS)
    for topic in (config.topic("snapshots"), config.topic("events")):
        place = TopicPartition(topic, partition, reader.range(topic, partition)[1])
        admin.delete_records([place])[place].result(20)
    reader.close()
    _clean_up_by(admin, config, "compact")


def _clean_up_by(admin: AdminClient, config: Config, policy: str) -> None:
    """How the brokers clean snapshots up: of a compacted topic they delete no records."""
    resource = ConfigResource(
        ResourceType.TOPIC,
        config.topic("snapshots"),
        incremental_configs=[
            ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
        ],
    )
    admin.incremental_alter_configs([resource])[resource].result(20)
