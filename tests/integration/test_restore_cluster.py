"""An empty cluster is filled from a backup, against a real broker and compactor."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import headwater
from consumers.backup import run_once
from consumers.retention import BACKUP_KEY
from headwater import Client, Config
from headwater.backup import Archive
from headwater.backup.prove import Proved, prove
from headwater.backup.restore import plan_restore, restore
from headwater.cli import cli
from headwater.errors import ConfigError, CorruptData, NotEmpty
from headwater.kafka import clients
from headwater.kafka.reader import Reader
from headwater.log.chain import partition_of
from headwater.recovery.verify import Verified, verify
from headwater.tiers import open_tier
from tests.support.clusters import Kafka, fresh_config
from tests.support.fleet import await_compacted
from tests.support.processes import environment, programs
from tests.support.restoring import hashes, once, restored
from tests.support.sessions import append
from tests.support.stage import Stage, compacting

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def grown(config: Config, hw: Client) -> dict[str, Any]:
    """Agents with a past: chains, a fork, checkpoints, a large state; all compacted."""
    kept = {}
    with compacting(config):
        for number in range(6):
            with hw.agent(f"a-{number}", session="s") as agent:
                for n in range(12):
                    append(agent, f"message {n} of agent {number}")
                    if n == 5:
                        kept[agent.agent_id] = agent.checkpoint("milestone", "halfway")
                        time.sleep(0.3)
        with hw.agent("large", session="s") as agent:
            for n in range(4):
                with agent.change() as state:
                    state.data[f"blob-{n}"] = random.Random(n).randbytes(800_000)
        await_compacted(config, hw.partitions)
        hw.fork("a-0", 7, "fork", session="s-f")
        with hw.agent("fork", session="s-f") as agent:
            append(agent, "its own")
        await_compacted(config, hw.partitions)
    return {"kept": kept, "hashes": hashes(hw)}


def test_an_empty_cluster_gets_everything_back(
    config: Config, hw: Client, grown: dict[str, Any], headwater_kafka: Kafka, tmp_path: Path
) -> None:
    """Hashes, versions, checkpoints, forks; agents go on, compacted and backed up again."""
    url = str(tmp_path / "backup")
    assert once(config, url) > 20
    assert once(config, url) == 0
    new = fresh_config(headwater_kafka, partitions=None)
    done = restored(new, url)
    assert (done.agents, done.lost, done.damaged) == (8, (), ())
    with headwater.connect(new) as there, compacting(new):
        assert hashes(there) == grown["hashes"]
        # Replaying begins behind the last snapshot: the events between them are not here.
        for verified in verify(there._recovery):
            assert isinstance(verified, Verified) and verified.ok, verified
        for name, checkpoint in grown["kept"].items():
            assert there.at(name, checkpoint.checkpoint_id).state_hash == checkpoint.state_hash
            for version in range(1, 13):
                assert len(there.at(name, version).state.messages) == version
        with there.agent("a-1", session="s") as agent:
            append(agent, "after the flood")
        with there.agent("fork", session="s-f") as agent:
            append(agent, "after the flood")
        there.fork("a-2", grown["kept"]["a-2"].checkpoint_id, "fork-2", session="s-2")
        await_compacted(new, there.partitions)
        assert [len(there.get(n).state.messages) for n in ("a-1", "fork", "fork-2")] == [13, 9, 6]
        for verified in verify(there._recovery):
            assert isinstance(verified, Verified) and verified.ok, verified
        after = hashes(there)
    assert once(new, str(tmp_path / "second")) > 20
    third = fresh_config(headwater_kafka, partitions=None)
    restored(third, str(tmp_path / "second"))
    with headwater.connect(third) as there:
        assert hashes(there) == after


def test_a_backup_that_is_lost_is_made_again(
    config: Config, grown: dict[str, Any], tmp_path: Path
) -> None:
    """From what Kafka holds; and one of other topics is not continued."""
    url = str(tmp_path / "b")
    first = once(config, url)
    with open_tier(url) as tier:
        for entry in list(tier.list()):
            tier.delete(entry.key)
    assert once(config, url) == first
    assert _last_pin(config) is not None
    runner = CliRunner()
    gone = runner.invoke(cli, ["backup", "release", "--yes"], env=environment(config))
    assert gone.exit_code == 0, gone.output
    assert _last_pin(config) is None
    with open_tier(url) as tier, pytest.raises(ConfigError, match="another place"):
        other = config.with_(prefix=f"{config.prefix}other.")
        headwater.connect(other).open().close()
        run_once(other, tier)


def _last_pin(config: Config) -> bytes | None:
    reader = Reader(config, clients.SCANS)
    found = [m for batch in reader.scan(config.topic("checkpoints"), 0, None) for m in batch]
    reader.close()
    return [m.value() for m in found if m.key() == BACKUP_KEY][-1]


def test_a_cluster_with_agents_is_not_filled(
    config: Config, hw: Client, grown: dict[str, Any], headwater_kafka: Kafka, tmp_path: Path
) -> None:
    """Neither one with an index nor one with events alone; one that was killed midway is."""
    url = str(tmp_path / "b")
    once(config, url)
    with pytest.raises(NotEmpty, match="holds"):
        restored(config, url)
    used = fresh_config(headwater_kafka)
    stage = Stage(used)
    stage.author("somebody")
    with pytest.raises(NotEmpty, match="events"):
        restored(used, url)
    stage.close()
    new = fresh_config(headwater_kafka, partitions=None)
    for point in ("snapshots_written", "before_end"):
        _killed_restore(new, url, tmp_path, f"restore.{point}")
    restored(new, url)
    with headwater.connect(new) as there:
        assert hashes(there) == grown["hashes"]
        assert there.at("a-3", 4).state.messages[-1] == "message 3 of agent 3"
    with pytest.raises(NotEmpty):
        restored(new, url)


def _killed_restore(config: Config, url: str, directory: Path, point: str) -> None:
    with programs(config, directory) as started:
        arguments = ["restore-cluster", "--from", url, "--yes"]
        started.start(point, "headwater", arguments, HEADWATER_CRASH_AT=point).await_crash()


def test_a_corrupt_backup_gives_no_wrong_state(
    config: Config, hw: Client, grown: dict[str, Any], headwater_kafka: Kafka, tmp_path: Path
) -> None:
    """Flipped bytes are found before anything is written; with the damage left out, every agent
    that comes back is right, and the others are named.
    """
    url = str(tmp_path / "b")
    once(config, url, segment_bytes=100_000)
    with open_tier(url) as tier:
        archive = Archive(tier)
        (gone,) = {partition_of(b"a-1", hw.partitions)}
        name = archive.chain(gone)[0]
    (path,) = (tmp_path / "b").glob(f"**/p{gone:04}/{name.key.rsplit('/')[-1]}*")
    stored = bytearray(path.read_bytes())
    stored[len(stored) // 2] ^= 0x10
    path.write_bytes(stored)
    new = fresh_config(headwater_kafka, partitions=None)
    with pytest.raises(CorruptData):
        restored(new, url)
    with open_tier(url) as tier:
        archive = Archive(tier)
        proved = {p.agent_id: p for p in prove(archive) if isinstance(p, Proved)}
        done = restore(archive, new, plan_restore(archive, partial=True), partial=True)
    assert len(done.damaged) == 1
    with headwater.connect(new) as there:
        # One whose state refers to what is damaged is there, and says that it cannot be proved.
        back = [r for r in there.recover_many() if not isinstance(r, headwater.Failed)]
    found = {r.agent_id: (r.head.hash, r.state_hash, r.version) for r in back}
    assert found.items() <= grown["hashes"].items()
    lost = grown["hashes"].keys() - found.keys()
    assert set(done.lost) <= lost
    assert all(name not in proved or proved[name].problem for name in lost)
