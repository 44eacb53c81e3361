"""What publishing a change costs, beside raw confluent-kafka producing the same bytes."""

from __future__ import annotations

import time
from typing import Any

import headwater
from benchmarks.child import run_side
from benchmarks.cluster import (
    cluster,
    config_of,
    delete_topics,
    fresh_config,
    make_topic,
    settings_of,
)
from benchmarks.load import Texts
from benchmarks.measure import Meter, latencies_ms, per_event
from benchmarks.report import Report, Target, say
from headwater.config import Config
from headwater.log.chain import partition_of

ROUNDS = 5
PARTITIONS = 4
CHANGE_BYTES = 1024
KEYS = 16
TARGETS = {
    "cpu_ratio": Target(at_most=2.0),
    "ack_ratio": Target(at_most=1.5),
    "strong_ratio": Target(at_most=1.5),
}


def run(*, quick: bool) -> Report:
    """Alternating rounds."""
    events, acks = (30_000, 300) if quick else (200_000, 2_000)
    report = Report(
        name="publish",
        question="what does a change of 1 KB cost?",
        quick=quick,
        targets=TARGETS,
        setup={"events": events, "change_bytes": CHANGE_BYTES, "acks": acks, "keys": KEYS},
    )
    with cluster() as kafka:
        for number in range(1, ROUNDS + 1):
            config = fresh_config(kafka, PARTITIONS, "publish")
            _round(report, config, number, events, acks)
            delete_topics(config, config.prefix)
    return report


def _round(report: Report, config: Config, number: int, events: int, acks: int) -> None:
    agent = f"agent-{number}"
    params = {
        **settings_of(config),
        "agent": agent,
        "events": events,
        "warm_up": events // 10,
        "acks": acks,
        "seed": number,
    }
    say(f"round {number}: headwater")
    ours = run_side("benchmarks.publish:headwater_side", **params)
    topic = f"{config.prefix}raw"
    make_topic(config, topic, PARTITIONS)
    say(f"round {number}: raw")
    partition = partition_of(agent.encode(), PARTITIONS)
    raw = run_side("benchmarks.peers.raw_producer:run", topic=topic, partition=partition, **params)
    report.add_side("headwater", ours)
    report.add_side("raw", raw)
    report.add(
        cpu_ratio=ours["cpu_us"] / raw["cpu_us"],
        wall_ratio=ours["wall_s"] / raw["wall_s"],
        ack_ratio=ours["ack"]["p50_ms"] / raw["ack"]["p50_ms"],
        strong_ratio=ours["strong"]["p50_ms"] / raw["strong"]["p50_ms"],
    )


def headwater_side(params: dict[str, Any]) -> dict[str, Any]:
    """Side: changes without waiting, then one at a time, acknowledged and STRONG."""
    config = config_of(params)
    warm_up = params["warm_up"]
    texts = Texts(params["seed"])
    payloads = [texts.take(CHANGE_BYTES) for _ in range(warm_up + params["events"])]
    keys = [f"key-{n % KEYS}" for n in range(len(payloads))]
    changes = list(zip(keys, payloads, strict=True))
    with (
        headwater.connect(config) as hw,
        hw.agent(params["agent"], session="bench") as agent,
    ):
        _publish(agent, changes[:warm_up])
        meter = Meter()
        meter.start()
        _publish(agent, changes[warm_up:])
        result = per_event(meter.stop(), params["events"])
        some = changes[: params["acks"]]
        return {
            **result,
            "ack": latencies_ms(_acknowledged(agent, some)),
            "strong": latencies_ms(_strong(agent, some)),
        }


def _publish(agent: Any, changes: list[tuple[str, str]]) -> None:
    for key, payload in changes:
        with agent.change(wait=False) as state:
            state.data[key] = payload
    agent.flush()


def _acknowledged(agent: Any, changes: list[tuple[str, str]]) -> list[float]:
    taken = []
    for key, payload in changes:
        started = time.perf_counter()
        with agent.change() as state:
            state.data[key] = payload
        taken.append(time.perf_counter() - started)
    return taken


def _strong(agent: Any, changes: list[tuple[str, str]]) -> list[float]:
    taken = []
    for number in range(-10, len(changes)):
        key, payload = changes[number]
        started = time.perf_counter()
        with agent.change(level=headwater.STRONG) as state:
            state.data[key] = payload
        if number >= 0:
            taken.append(time.perf_counter() - started)
    return taken
