"""Insights as a process: what it publishes, and that being killed changes none of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer

from headwater import Config
from headwater.fleet.feed import Feed, decoded, partitions_of
from headwater.fleet.records import (
    AgentReport,
    FailureType,
    Heartbeat,
    KindReport,
    LatencyBucket,
    Metric,
    RecoveryResult,
    RecoveryStatus,
    Resources,
    Severity,
)
from headwater.log.chain import partition_of
from headwater.topics import connect_fleet
from headwater.wire import codec
from tests.support.clusters import Kafka, fresh_config
from tests.support.processes import Program, Programs, eventually, programs

ARGUMENTS = ["--window-ms", "1000", "--sliding-ms", "4000"]
SECONDS = 20


@dataclass(frozen=True)
class Input:
    """A record as somebody wrote it."""

    topic: str
    key: str
    value: bytes
    at_ms: int


def heartbeat(node: str, sequence: int, at_ms: int) -> Input:
    """A node with three agents that makes ten steps a second, one in ten of which fails."""
    steps = 10 * sequence
    beat = Heartbeat(
        node_id=node,
        incarnation=node.encode().ljust(16, b"."),
        sequence=sequence,
        lease_ms=3000,
        sent_at=at_ms,
        agents_complete=True,
        agents=[AgentReport(agent_id=f"{node}-{n}", kind="W", version=steps) for n in range(3)],
        kinds=[
            KindReport(
                kind="W",
                steps=steps,
                errors=sequence,
                latency=[LatencyBucket(bucket=24, count=steps)],
            )
        ],
        resources=Resources(
            cpu=0.5,
            cpu_limit=2.0,
            memory_bytes=100 + sequence,
            memory_limit_bytes=1000,
            disk_free_bytes=500,
            disk_total_bytes=1000,
            open_files=20,
            open_files_limit=1000,
            loop_lag_ms=1.5,
            broker_rtt_ms=3.0,
        ),
    )
    return Input("heartbeats", node, beat.encode(), at_ms)


def commit(number: int, at_ms: int) -> Input:
    """A commit of the compactor."""
    zeros = dict.fromkeys(("refused", "dead_letters", "agents", "event_bytes", "written_bytes"), 0)
    record = {
        **zeros,
        "partition": 0,
        "start": 30 * number,
        "next_offset": 30 * number + 30,
        "events": 30,
        "status_changes": 2,
        "took_ms": 4.0,
        "committed_at": at_ms,
        "node_id": "compactor",
    }
    return Input("commits", "", codec("CompactorCommit").encode(record), at_ms)


def outcome(number: int, at_ms: int) -> Input:
    """A recovery that took 250 ms."""
    result = RecoveryResult(
        failure_id=f"{number:032x}",
        type=FailureType.NODE_FAILURE,
        severity=Severity.HIGH,
        component="node:n1",
        status=RecoveryStatus.SUCCEEDED,
        started_at=at_ms - 250,
        finished_at=at_ms,
    )
    return Input("outcomes", result.failure_id, result.encode(), at_ms)


def inputs(first_ms: int) -> list[Input]:
    """Twenty seconds of a fleet."""
    found = []
    for second in range(SECONDS):
        at_ms = first_ms + 1000 * second
        found += [heartbeat(node, second + 1, at_ms + 10) for node in ("n1", "n2", "n3")]
        found += [commit(second, at_ms + 20), outcome(second, at_ms + 30)]
    return found


def write(config: Config, records: Sequence[Input]) -> None:
    """Write what others wrote, with their times; some of it twice."""
    producer = Producer({"bootstrap.servers": config.bootstrap_servers, "log_level": 0})
    for number, each in enumerate(records):
        partition = partition_of(each.key.encode(), partitions_of(each.topic)) if each.key else 0
        for _ in range(1 + (number % 7 == 0)):
            producer.produce(
                config.topic(each.topic), each.value, each.key, partition, timestamp=each.at_ms
            )
    assert producer.flush(10) == 0


def published(config: Config) -> dict[str, Metric]:
    """What counts now, by key."""
    feed = Feed(config, "metrics")
    try:
        found = [(m.key(), decoded(Metric, m)) for m in feed.read_all()]
    finally:
        feed.close()
    return {(key or b"").decode(): metric for key, metric in found if metric is not None}


@pytest.fixture
def configs(headwater_kafka: Kafka) -> tuple[Config, Config]:
    """Two fleets, each with its topics."""
    both = fresh_config(headwater_kafka), fresh_config(headwater_kafka)
    for each in both:
        connect_fleet(each)
    return both


@pytest.fixture
def running(configs: tuple[Config, Config], tmp_path: Path) -> Iterator[list[Program]]:
    """Insights for each of them."""
    with programs(configs[0], tmp_path) as first, programs(configs[1], tmp_path) as second:
        yield [start(first, "undisturbed"), start(second, "disturbed")]


def start(under: Programs, name: str) -> Program:
    """Insights, supervised."""
    return under.start(name, "streams.insights", ARGUMENTS)


def worker(program: Program) -> psutil.Process | None:
    """The worker that the supervisor runs."""
    for child in psutil.Process(program.pid).children():
        if "streams.insights.worker" in " ".join(child.cmdline()):
            return child
    return None


def last_window(config: Config, second: int, first_ms: int) -> bool:
    """Whether the metrics of a second are there."""
    start_ms = first_ms + 1000 * second
    found = published(config)
    return all(f"{c}|steps|1000|{start_ms}" in found for c in ("fleet", "node:n3", "kind:W"))


def test_a_killed_worker_changes_no_metric(
    configs: tuple[Config, Config], running: list[Program]
) -> None:
    """What was published last for each window is what an undisturbed run gives, and is right."""
    undisturbed, disturbed = configs
    first_ms = (int(time.time()) - SECONDS - 30) * 1000
    everything = inputs(first_ms)
    half = len(everything) // 2
    for config in configs:
        write(config, everything[: half - 7])
    eventually(lambda: last_window(disturbed, 7, first_ms), 40, "metrics come")
    write(disturbed, everything[half - 7 : half])
    victim = worker(running[1])
    assert victim is not None
    victim.kill()
    write(disturbed, everything[half:])
    write(undisturbed, everything[half - 7 :])
    last = SECONDS - 1
    eventually(lambda: last_window(undisturbed, last, first_ms), 40, "all metrics")
    eventually(lambda: last_window(disturbed, last, first_ms), 40, "all metrics after the kill")
    found = published(disturbed)
    assert found == published(undisturbed)
    steps = found[f"fleet|steps|4000|{first_ms + 4000}"]
    assert (steps.count, steps.complete) == (120, True)
    assert found[f"fleet|errors|1000|{first_ms + 9000}"].count == 3
    assert found[f"node:n2|changes|1000|{first_ms + 9000}"].count == 30
    assert found[f"kind:W|step_ms|1000|{first_ms + 9000}"].p50 == pytest.approx(8.35, abs=0.1)
    assert found[f"fleet|events|1000|{first_ms + 9000}"].count == 30
    assert found[f"node:n1|recovery_ms|1000|{first_ms + 9000}"].p50 == 250.0
    assert found[f"node:n1|memory_share|1000|{first_ms + 9000}"].max == pytest.approx(0.11)
    assert found[f"fleet|states|4000|{first_ms + 9000}"].sum == 9
    running[0].end()
    running[1].end()
