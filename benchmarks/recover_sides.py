"""The sides of `recover`, each in a process of its own."""

from __future__ import annotations

import random
import time
from typing import Any

import headwater
from benchmarks.cluster import config_of, is_end, raw_consumer
from benchmarks.measure import Meter, latencies_ms

_INCREMENTS = 8
_OWN_TAIL = 100


def warm(params: dict[str, Any]) -> dict[str, Any]:
    """A client that follows the index recovers each measured agent once, in any order."""
    config = config_of(params)
    taken, reads = [], []
    with headwater.connect(config, follow_index=True) as hw:
        agents = _shuffled(params)
        hw.recover(agents.pop())  # waits until the index has been read once
        for agent in agents[: params["times"]]:
            started = time.perf_counter()
            recovered = hw.recover(agent)
            state = recovered.state
            taken.append(time.perf_counter() - started)
            _check(recovered, state, params)
            reads.append(recovered)
    return {**latencies_ms(taken), **_mean_reads(reads)}


def cold(params: dict[str, Any]) -> dict[str, Any]:
    """A new client each time: connect, check the topics, recover one agent."""
    config = config_of(params)
    taken, reads = [], []
    for agent in _shuffled(params)[: params["times"]]:
        started = time.perf_counter()
        with headwater.connect(config) as hw:
            recovered = hw.recover(agent)
            state = recovered.state
            taken.append(time.perf_counter() - started)
        _check(recovered, state, params)
        reads.append(recovered)
    return {**latencies_ms(taken), **_mean_reads(reads)}


def bulk(params: dict[str, Any]) -> dict[str, Any]:
    """All agents at once, decoded and proved."""
    config = config_of(params)
    meter = Meter()
    found = size_bytes = 0
    with headwater.connect(config) as hw:
        meter.start()
        for recovered in hw.recover_many():
            if isinstance(recovered, headwater.Failed):
                raise recovered.error
            if recovered.head.hash.hex() != params["heads"][recovered.agent_id]:
                raise RuntimeError(f"{recovered.agent_id} was not recovered to its last change")
            found += 1
            size_bytes += recovered.size_bytes
        result = meter.stop()
    if found != len(params["heads"]):
        raise RuntimeError(f"{found} of {len(params['heads'])} agents were recovered")
    return {**result, "agents": found, "bytes": size_bytes}


def raw(params: dict[str, Any]) -> dict[str, Any]:
    """Plain consumption of the topics that :func:`bulk` reads."""
    config = config_of(params)
    partitions = range(params["partitions"])
    topics = {config.topic(name): list(partitions) for name in ("snapshots", "index")}
    meter = Meter()
    meter.start()
    consumer = raw_consumer(config, topics)
    open_partitions = 2 * len(partitions)
    size_bytes = 0
    while open_partitions:
        first = consumer.poll(1.0)
        for message in (first, *consumer.consume(1000, 0)) if first is not None else ():
            if is_end(message):
                open_partitions -= 1
            else:
                size_bytes += len(message.key() or b"") + len(message.value() or b"")
    result = meter.stop()
    consumer.close()
    return {**result, "bytes": size_bytes}


def _shuffled(params: dict[str, Any]) -> list[str]:
    agents = sorted(params["heads"])
    random.Random(params["seed"]).shuffle(agents)
    return agents


def _check(recovered: Any, state: Any, params: dict[str, Any]) -> None:
    agent = recovered.agent_id
    if recovered.head.hash.hex() != params["heads"][agent] or len(state.data) < 2:
        raise RuntimeError(f"{agent} was not recovered to its last change")
    if recovered.tail_records != _OWN_TAIL or recovered.snapshots < 1 + _INCREMENTS:
        raise RuntimeError(
            f"{agent}: {recovered.tail_records} own records in the tail and a chain of "
            f"{recovered.snapshots}, which is not what is to be measured"
        )


def _mean_reads(reads: list[Any]) -> dict[str, float]:
    return {
        "records": sum(r.records for r in reads) / len(reads),
        "bytes": sum(r.size_bytes for r in reads) / len(reads),
        "snapshots": sum(r.snapshots for r in reads) / len(reads),
        "tail_records": sum(r.tail_records for r in reads) / len(reads),
    }
