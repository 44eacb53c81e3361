"""Our side of `compact`: the compactor, and the proof that it did the job."""

from __future__ import annotations

import threading
import time
from typing import Any

import headwater
from benchmarks.cluster import config_of, read_all
from benchmarks.compaction import Positions
from benchmarks.measure import Meter, per_event, percentile
from headwater.log.snapshots import POSITION_KEY
from headwater.wire import codec
from streams.snapshots import Compactor, to_json

_LOOK_S = 0.02
_TIMEOUT_S = 300.0


def compact(params: dict[str, Any]) -> dict[str, Any]:
    """Side: a compactor with its own defaults, to its orderly end; measured as its peers are,
    once it is warm, and beside that from its start.
    """
    compactor = Compactor(config_of(params))
    total = params["total"]
    stop = threading.Event()
    cold, warm = Meter(), Meter()
    taken_before: list[int] = []

    def watch() -> None:
        deadline = time.monotonic() + _TIMEOUT_S
        while (taken := _taken(compactor)) < params["warm_up"] and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        # What was taken in and is not committed yet counts against us.
        taken_before.append(taken)
        warm.start()
        while compactor.stats().counts.events < total and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        stop.set()

    cold.start()
    threading.Thread(target=watch, name="watch").start()
    compactor.run(stop)
    result, from_start = warm.stop(), cold.stop()
    counts = to_json(compactor.stats())
    del counts["partitions"], counts["lag"]
    if counts["events"] != total:
        raise RuntimeError(f"{counts['events']} of {total} events were committed")
    return {
        **counts,
        **per_event(result, total - taken_before[0]),
        "from_start_cpu_us": per_event(from_start, total)["cpu_us"],
    }


def _taken(compactor: Compactor) -> int:
    return sum(p.next_offset or 0 for p in compactor.stats().partitions.values())


def prove(params: dict[str, Any]) -> dict[str, Any]:
    """Side: every agent is recovered to its last change from snapshots alone; no tail is left."""
    config = config_of(params)
    positions = Positions(config)
    positions.wait(0.5)
    longest = agents = 0
    with headwater.connect(config) as hw:
        for recovered in hw.recover_many():
            if isinstance(recovered, headwater.Failed):
                raise recovered.error
            if recovered.head.hash.hex() != params["heads"][recovered.agent_id]:
                raise RuntimeError(f"{recovered.agent_id} was not recovered to its last change")
            if recovered.tail_records or not recovered.snapshots:
                raise RuntimeError(f"{recovered.agent_id} has a tail, or no full snapshot")
            longest = max(longest, recovered.snapshots)
            agents += 1
    if agents != len(params["heads"]):
        raise RuntimeError(f"{agents} of {len(params['heads'])} agents have a full snapshot")
    return {
        "agents": agents,
        "longest_chain": longest,
        **_commit_gaps(params),
    }


def _commit_gaps(params: dict[str, Any]) -> dict[str, float]:
    """Times between two commits of a partition, as their positions' records tell them."""
    config = config_of(params)
    last: dict[int, int] = {}
    gaps = []
    for message in read_all(config, config.topic("index"), range(params["partitions"])):
        if message.key() == POSITION_KEY:
            position = codec("Position").decode(message.value() or b"")
            partition, at = position["partition"], position["updated_at"]
            if partition in last:
                gaps.append(at - last[partition])
            last[partition] = at
    return {"commit_gap_p50_ms": percentile(gaps, 0.5), "commit_gap_max_ms": max(gaps)}
