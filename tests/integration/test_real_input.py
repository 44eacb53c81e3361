"""200 recorded agent runs, played under kills: what is recovered is what the file says.

The kills follow from a seed, which is printed; ``HEADWATER_SEED`` sets it.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import headwater
from headwater import Config, Failed, Recovered
from headwater.state.model import AgentState, state_hash
from tests.support.clusters import Kafka, fresh_config
from tests.support.fleet import await_compacted
from tests.support.processes import Program, Programs, programs
from tests.support.runs import Run, expected, find_runs, name_of, read_runs

pytestmark = [pytest.mark.kafka, pytest.mark.fault]

PLAYERS = 3


@dataclass(slots=True)
class Stage:
    """Players and compactors at work, and their replacements."""

    started: Programs
    file: Path
    runs: list[Run]
    pause_s: float
    players: dict[int, Program] = field(default_factory=dict)
    compactors: dict[int, Program] = field(default_factory=dict)
    births: int = 0

    def play(self, part: int) -> None:
        """Start a player for whatever of a part is not finished."""
        done = self.started.directory / f"part-{part}.done"
        finished = set(done.read_text().split()) if done.exists() else set()
        mine = [i for i in range(part, len(self.runs), PLAYERS) if str(i) not in finished]
        task = {
            "runs": str(self.file), "done": str(done), "indexes": mine, "pause_s": self.pause_s
        }  # fmt: skip
        self.births += 1
        self.players[part] = self.started.start(
            f"player-{part}-{self.births}", "tests.support.player", task
        )

    def compact(self, number: int) -> None:
        """Start a compactor."""
        self.births += 1
        self.compactors[number] = self.started.compactor(f"compactor-{number}-{self.births}")

    def still_playing(self) -> list[int]:
        """The parts that are not through; a player that failed fails the test."""
        for player in self.players.values():
            assert player.running or player.wait() == 0, player.tail()
        return [part for part, player in self.players.items() if player.running]

    def kill_player(self, part: int) -> None:
        """SIGKILL a player, and let another process go on."""
        self.players[part].kill()
        self.play(part)

    def kill_compactor(self, number: int) -> None:
        """SIGKILL a compactor, and start another one."""
        self.compactors[number].kill()
        self.compact(number)


def perform(stage: Stage, random_: random.Random, compactors: int, every_s: float) -> int:
    """Play everything under random kills; how many there were."""
    for part in range(PLAYERS):
        stage.play(part)
    for number in range(compactors):
        stage.compact(number)
    kills = 0
    while True:
        time.sleep(random_.uniform(0.2, 2 * every_s))
        playing = stage.still_playing()
        if not playing:
            return kills
        kills += 1
        if random_.random() < 0.35:
            stage.kill_compactor(random_.randrange(compactors))
        else:
            stage.kill_player(random_.choice(playing))


def check(runs: list[Run], found: list[Recovered | Failed]) -> None:
    """Hold what was recovered against the file."""
    by_name: dict[str, Recovered] = {}
    for each in found:
        assert isinstance(each, Recovered), each.error
        by_name[each.agent_id] = each
    for index, run in enumerate(runs):
        name, document = name_of(index), expected(index, run)
        recovered = by_name.pop(name)
        assert recovered.state == AgentState(name, **document), name
        assert recovered.state_hash == state_hash(name, document), name
        assert recovered.version == len(run["traj"]), f"{name}: a change was made twice"
        assert (recovered.inapplicable, recovered.warnings) == (0, ())
    assert not by_name, f"agents that nobody made: {sorted(by_name)}"


def verify(config: Config, runs: list[Run], random_: random.Random) -> None:
    """Recover all at once, amid the tail and from snapshots alone, and some one by one."""
    with headwater.connect(config) as client:
        check(runs, list(client.recover_many()))
        await_compacted(config, client.partitions)
        found = list(client.recover_many())
        check(runs, found)
        assert not any(isinstance(r, Recovered) and r.tail_records for r in found)
    with headwater.connect(config, follow_index=True) as client:
        some = random_.sample(range(len(runs)), 20)
        for index in some:
            name = name_of(index)
            assert client.recover(name).state_hash == state_hash(name, expected(index, runs[index]))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("compactors", "every_s", "pause_s"),
    [
        pytest.param(1, 0.8, 0.002, id="short"),
        pytest.param(2, 0.4, 0.03, id="long", marks=pytest.mark.long),
    ],
)
def test_recorded_runs_survive_kills(
    headwater_kafka: Kafka, tmp_path: Path, compactors: int, every_s: float, pause_s: float
) -> None:
    """Players and compactors are killed at random; every state equals the one from the file."""
    file = find_runs()
    runs = read_runs(file)
    seed = int(os.environ.get("HEADWATER_SEED") or random.randrange(2**32))
    print(f"seed {seed} (again with HEADWATER_SEED={seed})")
    random_ = random.Random(seed)
    config = fresh_config(headwater_kafka)
    with headwater.connect(config):
        pass  # makes the topics
    with programs(config, tmp_path) as started:
        kills = perform(Stage(started, file, runs, pause_s), random_, compactors, every_s)
        print(f"{kills} kills")
        verify(config, runs, random_)
