"""How well recovery times are predicted: each of many agents of mixed sizes, and all at once."""

from __future__ import annotations

import random
import time
from typing import Any

from benchmarks.child import run_side
from benchmarks.cluster import Cluster, cluster, delete_topics, fresh_config, settings_of
from benchmarks.compaction import compacting
from benchmarks.load import BEGIN, Chain, Event, Feeder, Texts, make_chains, set_data
from benchmarks.report import Report, Target, say
from headwater.config import Config
from headwater.state.patch import SET, encode_patch
from headwater.topics import DEFAULT_PARTITIONS, connect_topics

ROUNDS = 3
AGENTS = 1_000
QUICK_AGENTS = 250
SAMPLE = 60
"""Agents beside the others, of the same kinds: the rates are measured on these alone."""
TURNS = 10
"""Commits after an agent's first; it takes part in some of them, so chains differ in length."""
SMALLEST, LARGEST = 1_000, 500_000
CHANGE_BYTES = (100, 8_000)
TAIL_STEP = 400
"""Records that the tail of a partition has more than the one before it; the first has none."""
TAIL_BYTES = 300
TARGETS = {"within_factor_2": Target(at_least=0.9)}
_PIECE = 1_000


def run(*, quick: bool) -> Report:
    """Build the fleet once, then three rounds of predicting and measuring all of it."""
    agents = QUICK_AGENTS if quick else AGENTS
    report = Report(
        name="rto",
        question="how far are predicted recovery times from measured ones?",
        quick=quick,
        targets=TARGETS,
        setup={
            "agents": agents,
            "partitions": DEFAULT_PARTITIONS,
            "sample": SAMPLE,
            "state_bytes": [SMALLEST, LARGEST],
            "tail_records": [0, TAIL_STEP * (DEFAULT_PARTITIONS - 1)],
        },
    )
    if quick:
        report.notes.append(f"quick: {agents:,} agents where the full run has {AGENTS:,}")
    with cluster() as kafka:
        config, sample, measured = _build(kafka, agents)
        for number in range(1, ROUNDS + 1):
            say(f"round {number}")
            side = run_side(
                "benchmarks.rto_sides:predicted",
                **settings_of(config),
                sample=sample,
                agents=measured,
                seed=number,
            )
            report.add(**side.pop("figures"))
            report.add_side("headwater", side)
        delete_topics(config, config.prefix)
    return report


def _build(kafka: Cluster, agents: int) -> tuple[Config, list[str], list[str]]:
    """Topics with the fleet in them, as the compactor leaves it; the sample, and the others."""
    started = time.monotonic()
    config = fresh_config(kafka, DEFAULT_PARTITIONS, "rto")
    partitions = connect_topics(config)
    rng, texts = random.Random(agents), Texts(agents)
    names = [*(f"sample-{n}" for n in range(SAMPLE)), *(f"agent-{n}" for n in range(agents))]
    chains = make_chains(names, partitions, agents)
    turns = {chain.key: rng.randint(0, TURNS) for chain in chains}
    feeder = Feeder(config, config.topic("events"))
    with compacting(config, commit_s=0.1) as positions:
        feeder.send([event for chain in chains for event in _first(chain, texts, rng)])
        positions.wait()
        for turn in range(1, TURNS + 1):
            feeder.send([_change(c, turn, texts, rng) for c in chains if turns[c.key] >= turn])
            positions.wait()
    feeder.send(_tail(partitions, texts))
    say(f"{len(names):,} agents, built in {time.monotonic() - started:.0f} s")
    return config, names[:SAMPLE], names[SAMPLE:]


def _first(chain: Chain, texts: Texts, rng: random.Random) -> list[Event]:
    """A claim, and a change that gives the agent its size: any order of magnitude as often."""
    size = round(SMALLEST * (LARGEST / SMALLEST) ** rng.random())
    data: dict[str, Any] = {
        f"key-{n}": texts.take(min(_PIECE, size - n * _PIECE)) for n in range(-(-size // _PIECE))
    }
    patch = encode_patch([*BEGIN, (SET, ("data",), data)])
    return [
        (chain.partition, chain.key, chain.claim()),
        (chain.partition, chain.key, chain.change(patch)),
    ]


def _change(chain: Chain, turn: int, texts: Texts, rng: random.Random) -> Event:
    text = texts.take(rng.randint(*CHANGE_BYTES))
    return chain.partition, chain.key, chain.change(set_data(f"note-{turn}", text))


def _tail(partitions: int, texts: Texts) -> list[Event]:
    """Records of agents that nobody measures, in one partition more than in another."""
    left = {partition: TAIL_STEP * partition for partition in range(partitions)}
    events: list[Event] = []
    number = 0
    while any(left.values()):
        (chain,) = make_chains([f"bystander-{number}"], partitions, number)
        number += 1
        count, left[chain.partition] = left[chain.partition], 0
        if count:
            events.append((chain.partition, chain.key, chain.claim()))
        for n in range(count - 1):
            patch = set_data(f"key-{n % 50}", texts.take(TAIL_BYTES))
            events.append((chain.partition, chain.key, chain.change(patch)))
    return events
