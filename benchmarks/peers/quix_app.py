"""The `compact` job in Quix Streams, exactly once.

Settings: commits every 250 ms, raw bytes in state (no JSON), lz4, ``retry.backoff.ms=1`` (which
alone makes short transactions several times faster), and no collecting of outputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quixstreams import Application, State
from quixstreams.models.topics import TopicConfig

from benchmarks.measure import per_event
from benchmarks.peers.job import LAYOUTS, Progress, read_event


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Side: process ``total`` events of ``topic``, the first ``warm_up`` of them unmeasured."""
    progress = Progress(params["warm_up"], params["total"])
    app = Application(
        broker_address=params["bootstrap_servers"],
        consumer_group=params["group"],
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=0.25,
        state_dir=Path(params["scratch"]) / "state",
        loglevel="ERROR",
        consumer_extra_config={"fetch.queue.backoff.ms": 0, "queued.min.messages": 100_000},
        producer_extra_config={
            "compression.type": "lz4",
            "linger.ms": 5,
            "retry.backoff.ms": 1,
            "queue.buffering.max.messages": 1_000_000,
        },
    )

    apply = LAYOUTS[params["layout"]]

    def work(value: bytes, key: bytes, _timestamp: int, _headers: Any, state: State) -> None:
        apply(state, read_event(key, value))
        progress.count()

    topic = app.topic(
        params["topic"],
        key_deserializer="bytes",
        value_deserializer="bytes",
        config=TopicConfig(num_partitions=params["partitions"], replication_factor=1),
    )
    app.dataframe(topic).update(work, stateful=True, metadata=True)
    # Returns after the last commit.
    app.run(count=params["total"], collect=False)
    result = progress.meter.stop()
    if not progress.done:
        raise RuntimeError(f"Quix stopped after {progress.seen} of {progress.total} events")
    return per_event(result, progress.measured)
