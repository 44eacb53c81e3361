"""What snapshots and index cost in bytes, on recorded runs of a real agent."""

from __future__ import annotations

import gzip
import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.child import ROOT
from benchmarks.cluster import (
    Cluster,
    cluster,
    delete_topics,
    fresh_config,
    read_all,
)
from benchmarks.compaction import Positions, compacting
from benchmarks.load import BEGIN, Chain, Event, Feeder, make_chains
from benchmarks.report import Report, Target, say
from benchmarks.settling import Size, settled, size_of
from consumers.retention import Policy, Retention
from headwater.config import Config
from headwater.log.snapshots import decode_entry
from headwater.state.patch import APPEND, SET, Op, encode_patch
from headwater.topics import connect_topics

ROUNDS = 3
PARTITIONS = 4
QUICK_RUNS = 60
FILE = "tau-bench-airline.json.gz"
TARGETS = {
    "kept_ratio": Target(at_most=1.3),
    "written_ratio": Target(at_most=3.0),
    "longest_chain": Target(at_most=16),
}
# A commit after every change is what is measured, so nothing depends on how long one waits for it.
_COMMIT_S = 0.02


def run(*, quick: bool) -> Report:
    """Bytes do not vary with load, commits do a little: three rounds."""
    report = Report(
        name="storage",
        question="how many bytes do snapshots and index take, over those of the events?",
        quick=quick,
        targets=TARGETS,
    )
    path = data_path()
    if path is None:
        report.notes.append(
            f"skipped: no {FILE}; set HEADWATER_DATA to the folder that holds it. No figure counts."
        )
        say(report.notes[0])
        return report
    runs = json.loads(gzip.decompress(path.read_bytes()))[: QUICK_RUNS if quick else None]
    messages = sum(len(run["traj"]) for run in runs)
    report.setup.update(runs=len(runs), messages=messages, partitions=PARTITIONS)
    report.notes.append("one change a message, and every change is committed before the next one")
    with cluster() as kafka:
        for number in range(1, ROUNDS + 1):
            say(f"round {number}: {len(runs)} runs, {messages} messages")
            config = fresh_config(kafka, PARTITIONS, "storage")
            _round(report, kafka, config, [run["traj"] for run in runs], number)
            delete_topics(config, config.prefix)
    return report


def data_path() -> Path | None:
    """The recorded runs: in ``HEADWATER_DATA``, or beside the checkout."""
    folder = Path(os.environ.get("HEADWATER_DATA") or ROOT.parent / "shared" / "data")
    path = folder / FILE
    return path if path.is_file() else None


def _round(
    report: Report, kafka: Cluster, config: Config, runs: list[list[Any]], seed: int
) -> None:
    connect_topics(config)
    with compacting(config, _COMMIT_S) as positions:
        _play(config, positions, runs, seed)
        longest = _longest_chain(config)
        events = size_of(kafka, config, "events")
        written = {name: size_of(kafka, config, name) for name in ("snapshots", "index")}
    # Within a day nothing but copies goes; after it, all that is no longer needed.
    _prune(config, timedelta(hours=24))
    history = sum(_live_bytes(config, name) for name in written)
    _prune(config, timedelta(0))
    kept = settled(kafka, config, list(written))
    report.add_side(
        "headwater",
        {
            "events_bytes": events.bytes,
            "events_disk_bytes": events.disk_bytes,
            **_named("written", written),
            "kept_with_history_bytes": history,
            **_named("kept", kept),
        },
    )
    report.add(
        kept_ratio=_total(kept) / events.bytes,
        kept_with_history_ratio=history / events.bytes,
        written_ratio=_total(written) / events.bytes,
        longest_chain=longest,
    )


def _prune(config: Config, history: timedelta) -> None:
    policy = Policy(history=history, grace=timedelta(0), listed=0)
    retention = Retention(config, PARTITIONS, policy)
    try:
        done = retention.run(time.time_ns() // 1_000_000)
    finally:
        retention.close()
    assert (done.failed, done.overtaken) == ([], [])


def _live_bytes(config: Config, name: str) -> int:
    """What compaction would leave of a topic: the last record of each key, tombstones too."""
    found = {
        (m.partition(), m.key()): len(m.key() or b"") + len(m.value() or b"")
        for m in read_all(config, config.topic(name), range(PARTITIONS))
    }
    return sum(found.values())


def _total(sizes: dict[str, Size]) -> int:
    return sum(size.bytes for size in sizes.values())


def _named(prefix: str, sizes: dict[str, Size]) -> dict[str, int]:
    named = {}
    for topic, size in sizes.items():
        named[f"{prefix}_{topic}_records"] = size.records
        named[f"{prefix}_{topic}_bytes"] = size.bytes
        named[f"{prefix}_{topic}_disk_bytes"] = size.disk_bytes
    return named


def _play(config: Config, positions: Positions, runs: list[list[Any]], seed: int) -> None:
    names = [f"run-{number:03d}" for number in range(len(runs))]
    chains = make_chains(names, PARTITIONS, seed)
    feeder = Feeder(config, config.topic("events"))
    feeder.send([(c.partition, c.key, c.claim()) for c in chains])
    for turn in range(max(map(len, runs))):
        feeder.send(
            [
                _event(chain, run[turn], turn)
                for chain, run in zip(chains, runs, strict=True)
                if turn < len(run)
            ]
        )
        positions.wait()


def _event(chain: Chain, message: Any, turn: int) -> Event:
    ops: list[Op] = [(APPEND, ("messages",), message), (SET, ("step",), turn + 1)]
    if turn == 0:
        ops += BEGIN
    return chain.partition, chain.key, chain.change(encode_patch(ops))


def _longest_chain(config: Config) -> int:
    """Snapshots in the longest chain that any index entry ever named."""
    return max(
        len(decode_entry(message.value() or b"").snapshots)
        for message in read_all(config, config.topic("index"), range(PARTITIONS))
        if message.value() is not None and not (message.key() or b"").startswith(b"!")
    )
