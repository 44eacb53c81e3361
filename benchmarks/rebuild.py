"""How fast an empty cluster is filled from a backup, beside raw produce of the same records."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from benchmarks.child import run_side
from benchmarks.cluster import Cluster, cluster, delete_topics, fresh_config, settings_of
from benchmarks.compaction import compacting
from benchmarks.load import BEGIN, Event, Feeder, Texts, make_chains, set_data
from benchmarks.report import Report, Target, say
from consumers.backup import run_once
from headwater.config import Config
from headwater.state.patch import SET, encode_patch
from headwater.tiers import open_tier
from headwater.topics import DEFAULT_PARTITIONS, connect_topics

ROUNDS = 3
AGENTS = 10_000
QUICK_AGENTS = 2_000
KEYS = 4
CHANGE_BYTES = 1024
TURNS = 4
"""Changes after an agent's first, each compacted by itself."""
TARGETS = {"rate_ratio": Target(at_least=0.3)}
_NOTES = (
    f"states of {KEYS} KB, then {TURNS} changes of 1 KB each; in the backup are all snapshots, "
    "superseded ones too, and the newest index entries",
    "bytes: keys and values of what was written; ours from reading the backup (a local directory) "
    "to the last acknowledgement, every one held against its offset; topics are made before",
    "raw: the same records, in memory already, to the same number of partitions, with the same "
    "producer settings, which are idempotent and acks=all",
)


def run(*, quick: bool) -> Report:
    """Build one backup, then alternating rounds of filling fresh topics with what is in it."""
    agents = QUICK_AGENTS if quick else AGENTS
    report = Report(
        name="rebuild",
        question="how fast is an empty cluster filled from a backup?",
        quick=quick,
        targets=TARGETS,
        setup={"agents": agents, "partitions": DEFAULT_PARTITIONS, "keys": KEYS, "turns": TURNS},
        notes=list(_NOTES),
    )
    if quick:
        report.notes.append(f"quick: {agents:,} agents where the full run has {AGENTS:,}")
    with cluster() as kafka, tempfile.TemporaryDirectory(prefix="headwater-bench-") as scratch:
        url = str(Path(scratch) / "backup")
        heads = _build(kafka, agents, url)
        for number in range(1, ROUNDS + 1):
            say(f"round {number}")
            config = fresh_config(kafka, DEFAULT_PARTITIONS, f"rebuild-{number}")
            ours = run_side(
                "benchmarks.rebuild_sides:rebuild", **settings_of(config), url=url, heads=heads
            )
            raw = run_side("benchmarks.rebuild_sides:raw", **settings_of(config))
            report.add_side("headwater", ours)
            report.add_side("raw produce", raw)
            report.add(
                rate_ratio=ours["bytes_per_s"] / raw["bytes_per_s"],
                cpu_ratio=(ours["cpu_s"] / ours["bytes"]) / (raw["cpu_s"] / raw["bytes"]),
                seconds=ours["wall_s"],
            )
            delete_topics(config, config.prefix)
    return report


def _build(kafka: Cluster, agents: int, url: str) -> dict[str, str]:
    """A backup of so many agents, and the hash of each one's head."""
    started = time.monotonic()
    config = fresh_config(kafka, DEFAULT_PARTITIONS, "source")
    partitions = connect_topics(config)
    chains = make_chains((f"agent-{n}" for n in range(agents)), partitions, agents)
    texts, rng = Texts(agents), random.Random(agents)
    feeder = Feeder(config, config.topic("events"))
    with compacting(config, commit_s=0.1) as positions:
        events: list[Event] = []
        for chain in chains:
            data = {f"key-{n}": texts.take(CHANGE_BYTES) for n in range(KEYS)}
            patch = encode_patch([*BEGIN, (SET, ("data",), data)])
            events.append((chain.partition, chain.key, chain.claim()))
            events.append((chain.partition, chain.key, chain.change(patch)))
        feeder.send(events)
        positions.wait()
        for _ in range(TURNS):
            feeder.send(
                [
                    (
                        chain.partition,
                        chain.key,
                        chain.change(
                            set_data(f"key-{rng.randrange(KEYS)}", texts.take(CHANGE_BYTES))
                        ),
                    )
                    for chain in chains
                ]
            )
            positions.wait()
    _back_up(config, url)
    delete_topics(config, config.prefix)
    say(f"a backup of {agents:,} agents, built in {time.monotonic() - started:.0f} s")
    return {chain.key.decode(): chain.hash.hex() for chain in chains}


def _back_up(config: Config, url: str) -> None:
    with open_tier(url) as tier:
        run_once(config, tier)
