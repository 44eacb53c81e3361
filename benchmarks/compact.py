"""What compacting an event costs, beside the same job in Faust and in Quix Streams."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.child import run_side
from benchmarks.cluster import (
    Cluster,
    cluster,
    delete_topics,
    fresh_config,
    make_topic,
    settings_of,
)
from benchmarks.load import BEGIN, Event, Feeder, Texts, make_chains, set_data
from benchmarks.peers.environment import peer_python
from benchmarks.report import Report, Target, say
from headwater.state.patch import SET, encode_patch
from headwater.topics import connect_topics

ROUNDS = 3
AGENTS = 1_000
PARTITIONS = 4
KEYS = 32
CHANGE_BYTES = 1024
TARGETS = {
    "cpu_us": Target(at_most=25),
    "vs_quix": Target(at_least=5),
    "vs_faust": Target(at_least=10),
}
_SIZES = {
    False: {"headwater": 200_000, "quix": 200_000, "faust": 50_000},
    True: {"headwater": 80_000, "quix": 25_000, "faust": 10_000},
}
_NOTES = (
    f"{AGENTS} agents in {PARTITIONS} partitions, with states of {KEYS} KB (between the recorded "
    "runs' and the agents of `recover`) from their first change on; each later one overwrites 1 KB",
    "CPU: whole process, all threads, from when the first states and a tenth of the events were "
    "taken in to the orderly end; ours from its start, too: from_start_cpu_us",
    "Faust runs at least once, which is kinder to it than exactly once; Quix exactly once",
    "a peer's table holds an agent's state as one entry: its changelog then has a full snapshot "
    "of every agent, as our topics do; neither proves a hash of the state, nor validates it",
    "split (not in --quick, one round): an entry for each key of the data, so that nothing holds "
    "an agent's snapshot; that is less than the job, and no figure rests on it",
)


def run(*, quick: bool) -> Report:
    """Alternating rounds."""
    sizes = _SIZES[quick]
    report = Report(
        name="compact",
        question="what does compacting an event of 1 KB cost?",
        quick=quick,
        targets=TARGETS,
        setup={"events": sizes, "agents": AGENTS, "partitions": PARTITIONS, "keys": KEYS},
        notes=list(_NOTES),
    )
    if sizes["quix"] < sizes["headwater"] or sizes["faust"] < sizes["headwater"]:
        report.notes.append(
            f"of our {sizes['headwater']:,} events Quix is given the first {sizes['quix']:,}, "
            f"Faust the first {sizes['faust']:,}"
        )
    pythons = {"quix": peer_python("quix"), "faust": None}
    report.peer_versions = _peer_versions(pythons["quix"])
    with cluster() as kafka:
        say("making events")
        events, heads = make_events(max(sizes.values()))
        peers = fresh_config(kafka, PARTITIONS, "peers")
        source = f"{peers.prefix}source"
        make_topic(peers, source, PARTITIONS)
        Feeder(peers, source).send(events[: max(sizes["quix"], sizes["faust"])])
        params = {**settings_of(peers), "topic": source}
        for number in range(1, ROUNDS + 1):
            say(f"round {number}: headwater, {len(events):,} events")
            cpu_us = _ours(report, kafka, events, heads, number)["cpu_us"]
            ratios = {
                f"vs_{name}": _peer(report, name, number, sizes[name], python, params) / cpu_us
                for name, python in pythons.items()
            }
            report.add(cpu_us=cpu_us, **ratios)
        if not quick:
            for name, python in pythons.items():
                _peer(report, name, 0, sizes[name], python, params, layout="split")
        delete_topics(peers, peers.prefix)
    return report


def _peer_versions(quix: str | None) -> dict[str, str]:
    """Of the engines; Quix's confluent-kafka is not ours."""
    engines = ("faust-streaming", "mode-streaming", "aiokafka", "rocksdict", "uvloop")
    theirs = run_side(
        "benchmarks.child:installed",
        python=quix,
        packages=["quixstreams", "confluent-kafka", "rocksdict"],
    )
    return {
        **run_side("benchmarks.child:installed", packages=engines),
        **{name if name == "quixstreams" else f"quix {name}": v for name, v in theirs.items()},
    }


def make_events(count: int) -> tuple[list[Event], dict[str, str]]:
    """Claims, first states, then changes of any agent's any key, seeded; and the heads' hashes."""
    texts, rng = Texts(1), random.Random(2)
    chains = make_chains((f"agent-{n:04d}" for n in range(AGENTS)), PARTITIONS, seed=3)
    events = [(chain.partition, chain.key, chain.claim()) for chain in chains]
    for chain in chains:
        data = {f"key-{n}": texts.take(CHANGE_BYTES) for n in range(KEYS)}
        patch = encode_patch([*BEGIN, (SET, ("data",), data)])
        events.append((chain.partition, chain.key, chain.change(patch)))
    while len(events) < count:
        chain = chains[rng.randrange(AGENTS)]
        patch = set_data(f"key-{rng.randrange(KEYS)}", texts.take(CHANGE_BYTES))
        events.append((chain.partition, chain.key, chain.change(patch)))
    return events, {chain.key.decode(): chain.hash.hex() for chain in chains}


def warm_up(events: int) -> int:
    """How many of them are not measured: claims and first states, and a tenth."""
    return 2 * AGENTS + events // 10


def _ours(
    report: Report, kafka: Cluster, events: list[Event], heads: dict[str, str], number: int
) -> dict[str, Any]:
    config = fresh_config(kafka, PARTITIONS, f"compact-{number}")
    connect_topics(config)
    Feeder(config, config.topic("events")).send(events)
    params = {
        **settings_of(config),
        "warm_up": warm_up(len(events)),
        "total": len(events),
        "heads": heads,
    }
    result = run_side("benchmarks.compact_sides:compact", **params)
    proof = run_side("benchmarks.compact_sides:prove", **params)
    delete_topics(config, config.prefix)
    report.add_side("headwater", {**result, **proof})
    return result


def _peer(
    report: Report,
    name: str,
    number: int,
    total: int,
    python: str | None,
    params: dict[str, Any],
    layout: str = "whole",
) -> float:
    """One round of a peer; its CPU µs an event."""
    say(f"round {number}: {name}, {total:,} events, state {layout}")
    result = run_side(
        f"benchmarks.peers.{name}_app:run",
        python=python,
        group=f"{params['prefix']}{name}-{layout}-{number}",
        layout=layout,
        total=total,
        warm_up=warm_up(total),
        **params,
    )
    report.add_side(name if layout == "whole" else f"{name} {layout}", result)
    return float(result["cpu_us"])
