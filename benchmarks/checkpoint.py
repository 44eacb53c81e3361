"""What a checkpoint costs beside LangGraph's savers: to save, to restore, and in bytes."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.child import run_side
from benchmarks.cluster import Cluster, cluster, delete_topics, fresh_config, settings_of
from benchmarks.compaction import compacting
from benchmarks.peers.environment import peer_python
from benchmarks.report import Report, Target, say
from benchmarks.settling import settled, size_of
from consumers.retention import Policy, Retention
from headwater.config import Config
from headwater.topics import connect_topics
from tests.support.postgres import postgres

ROUNDS = 3
TIMES = 200
QUICK_TIMES = 60
RESTORES = 50
SIZES = {"50kb": 50 << 10, "1mb": 1 << 20}
TARGETS = {
    "bytes_per_checkpoint_1mb": Target(at_most=4096),
    "save_vs_sqlite_1mb": Target(at_most=1),
    "restore_vs_postgres_1mb": Target(at_most=1),
}
_COMMIT_S = 0.25
_COMPACTED = ("snapshots", "index", "checkpoints")
_CACHE_BYTES = 32 << 20
_LATER_MS = 15 * 60_000
_PACKAGES = ("langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres", "psycopg")
# The best that such a server does on this machine; what the last commits are is no matter here.
_POSTGRES = {"shared_buffers": "256MB", "max_wal_size": "4GB", "synchronous_commit": "off"}


def run(*, quick: bool) -> Report:
    """Three alternating rounds of each size."""
    times = QUICK_TIMES if quick else TIMES
    report = Report(
        name="checkpoint",
        question="what does a checkpoint of a state cost, of which 1 KB changed since the last?",
        quick=quick,
        targets=TARGETS,
        setup={"state_bytes": SIZES, "checkpoints": times, "restores": RESTORES},
    )
    sizes = {"1mb": SIZES["1mb"]} if quick else SIZES
    report.notes += [
        "incompressible values; Headwater's bytes are those on the broker's disk, of events, "
        "snapshots, index and checkpoints, over those once the state to begin with was there: "
        "`written` before anything is deleted, `kept` after retention (every checkpoint kept, the "
        "events of 24 h as well) and compaction",
        f"restores by a client that keeps {_CACHE_BYTES >> 20} MiB of the snapshots that it has "
        "read, as the server keeps pages; `uncached` without",
        "CPU is that of the process that saves and restores; brokers, the compactor and the "
        "PostgreSQL server are not in it",
    ]
    if quick:
        report.notes.append(
            f"quick: {times} checkpoints where the full run has {TIMES}, and 1 MB alone"
        )
    python = peer_python("langgraph")
    report.peer_versions |= run_side(
        "benchmarks.child:installed", python=python, packages=list(_PACKAGES)
    )
    with cluster() as kafka, postgres(**_POSTGRES) as url:
        for number in range(1, ROUNDS + 1):
            for name, state_bytes in sizes.items():
                say(f"round {number}: {name}")
                params = {
                    "seed": number,
                    "state_bytes": state_bytes,
                    "times": times,
                    "restores": RESTORES,
                    "patience_s": 4.0 if quick else 15.0,
                }
                _round(report, kafka, url, python, name, params)
    return report


def _round(
    report: Report, kafka: Cluster, url: str, python: str, name: str, params: dict[str, Any]
) -> None:
    ours = _ours(kafka, name, params)
    sqlite = run_side("benchmarks.peers.langgraph_app:sqlite", python=python, **params)
    postgres = run_side("benchmarks.peers.langgraph_app:postgres", python=python, url=url, **params)
    for side, result in (("headwater", ours), ("sqlite", sqlite), ("postgres", postgres)):
        report.add_side(f"{side} {name}", result)
    figures = {
        "bytes_per_checkpoint": ours["kept_bytes_per_checkpoint"],
        "written_bytes_per_checkpoint": ours["written_bytes_per_checkpoint"],
        "save_vs_sqlite": ours["save_p50_ms"] / sqlite["save_p50_ms"],
        "save_vs_postgres": ours["save_p50_ms"] / postgres["save_p50_ms"],
        "restore_vs_sqlite": ours["restore_p50_ms"] / sqlite["restore_p50_ms"],
        "restore_vs_postgres": ours["restore_p50_ms"] / postgres["restore_p50_ms"],
        "restore_uncached_vs_postgres": ours["restore_uncached_p50_ms"]
        / postgres["restore_p50_ms"],
    }
    report.add(**{f"{figure}_{name}": value for figure, value in figures.items()})


def _ours(kafka: Cluster, name: str, params: dict[str, Any]) -> dict[str, Any]:
    config = fresh_config(kafka, 1, f"checkpoint-{name}")
    connect_topics(config)
    given = {**settings_of(config), **params}
    with compacting(config, _COMMIT_S) as positions:
        run_side("benchmarks.checkpoint_sides:begin", **given)
        positions.wait()
        base = _disk_bytes(kafka, config)
        saved = run_side("benchmarks.checkpoint_sides:save", **given)
        positions.wait()
        written = _disk_bytes(kafka, config)
        ids = saved.pop("ids")
        given["ids"] = ids
        restored = run_side(
            "benchmarks.checkpoint_sides:restore", cache_bytes=_CACHE_BYTES, **given
        )
        plain = run_side("benchmarks.checkpoint_sides:restore", cache_bytes=0, **given)
    kept = _kept(kafka, config, params["times"], params["patience_s"])
    # All that was kept is still there.
    run_side("benchmarks.checkpoint_sides:restore", cache_bytes=0, **given)
    delete_topics(config, config.prefix)
    times = params["times"]
    return {
        **saved,
        **restored,
        "restore_uncached_p50_ms": plain["restore_p50_ms"],
        "written_bytes_per_checkpoint": (sum(written.values()) - sum(base.values())) / times,
        "kept_bytes_per_checkpoint": (sum(kept.values()) - sum(base.values())) / times,
        **{f"kept_{topic}_bytes": kept[topic] - base[topic] for topic in kept},
    }


def _disk_bytes(kafka: Cluster, config: Config) -> dict[str, int]:
    topics = ("events", *_COMPACTED)
    return {topic: size_of(kafka, config, topic).disk_bytes for topic in topics}


def _kept(kafka: Cluster, config: Config, times: int, patience_s: float) -> dict[str, int]:
    """Bytes on disk once what nothing lists was deleted, as it is a quarter of an hour later."""
    policy = Policy(checkpoints_max=times + 1)
    retention = Retention(config, config.partitions or 0, policy)
    try:
        retention.run(time.time_ns() // 1_000_000 + _LATER_MS)
    finally:
        retention.close()
    sizes = settled(kafka, config, _COMPACTED, patience_s=patience_s)
    return {
        "events": size_of(kafka, config, "events").disk_bytes,
        **{name: size.disk_bytes for name, size in sizes.items()},
    }
