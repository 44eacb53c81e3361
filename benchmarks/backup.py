"""What a continuous backup costs the compactor, and how far behind it is."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.child import run_side
from benchmarks.cluster import Cluster, cluster, delete_topics, fresh_config, settings_of
from benchmarks.compact import AGENTS, KEYS, PARTITIONS, make_events, warm_up
from benchmarks.load import Event, Feeder
from benchmarks.report import Report, Target, say
from headwater.topics import connect_topics

ROUNDS = 3
EVENTS = 200_000
QUICK_EVENTS = 80_000
INTERVAL_S = 1.0
"""A tenth of the default: a round lasts about as long as the default interval."""
TARGETS = {"slowdown": Target(at_most=1.1), "lag_max_s": Target(at_most=5)}
_NOTES = (
    "slowdown: the compactor's CPU an event (its process alone, all threads, as in `compact`) with "
    "a backup beside it over that without; rounds in pairs, alternating",
    "wall_slowdown: the same of wall time; where there are no more cores than brokers and "
    "compactor keep busy, it holds the CPU time of the backup, too",
    f"lag: everything older is in the backup; it copies every {INTERVAL_S:g} s to a local "
    "directory; drain_s: from the compactor's end until the backup had everything",
)


def run(*, quick: bool) -> Report:
    """Alternating rounds, with and without a backup."""
    count = QUICK_EVENTS if quick else EVENTS
    report = Report(
        name="backup",
        question="what does a continuous backup cost the compactor, and how far behind is it?",
        quick=quick,
        targets=TARGETS,
        setup={"events": count, "agents": AGENTS, "partitions": PARTITIONS, "keys": KEYS},
        notes=list(_NOTES),
    )
    with cluster() as kafka:
        say("making events")
        events, _ = make_events(count)
        for number in range(1, ROUNDS + 1):
            # Whichever comes second finds the broker warmer.
            turns = (False, True) if number % 2 else (True, False)
            sides = {
                with_backup: _round(kafka, events, number, with_backup) for with_backup in turns
            }
            alone, beside, backup = sides[False][0], *sides[True]
            report.add_side("headwater", beside)
            report.add_side("headwater without backup", alone)
            report.add_side("headwater backup", backup)
            report.add(
                slowdown=beside["cpu_us"] / alone["cpu_us"],
                wall_slowdown=alone["events_per_s"] / beside["events_per_s"],
                lag_max_s=backup["lag_max_s"],
                drain_s=backup["drain_s"],
                backup_cpu_us=backup["cpu_s"] / len(events) * 1e6,
            )
    return report


def _round(
    kafka: Cluster, events: list[Event], number: int, with_backup: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The compactor's figures, and the backup's; none where there is none."""
    say(f"round {number}: {'with' if with_backup else 'without'} backup, {len(events):,} events")
    config = fresh_config(kafka, PARTITIONS, f"backup-{number}")
    connect_topics(config)
    Feeder(config, config.topic("events")).send(events)
    params = {**settings_of(config), "warm_up": warm_up(len(events)), "total": len(events)}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as scratch:
        thread = None
        if with_backup:
            thread = threading.Thread(target=_back_up, args=(found, params, scratch))
            thread.start()
            _await(Path(scratch, "ready"), thread)
        result = run_side("benchmarks.compact_sides:compact", **params)
        Path(scratch, "stop").touch()
        if thread is not None:
            thread.join()
    delete_topics(config, config.prefix)
    if "error" in found:
        raise found["error"]
    return result, found


def _back_up(found: dict[str, Any], params: dict[str, Any], scratch: str) -> None:
    try:
        found |= run_side(
            "benchmarks.backup_sides:backup", **params, folder=scratch, interval_s=INTERVAL_S
        )
    except Exception as error:  # noqa: BLE001 - raised again where it can be seen
        found["error"] = error


def _await(path: Path, thread: threading.Thread) -> None:
    while not path.exists() and thread.is_alive():
        time.sleep(0.05)
