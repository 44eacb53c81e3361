"""Samples for tests, and a player that takes a log of them in, and may die."""

from __future__ import annotations

import random
from collections.abc import Sequence

from headwater.fleet.records import Metric
from streams.insights.board import Board, Windows
from streams.insights.cells import metric_key
from streams.insights.samples import (
    AgentSeen,
    CommitSample,
    KindCounts,
    NodeSample,
    OutcomeSample,
    Sample,
    Tick,
)

WINDOWS = Windows(pane_ms=1_000, sliding_ms=4_000, grace_ms=500, keep_ms=60_000)
T0 = 1_700_000_000_000


def beat(
    node: str,
    sequence: int,
    at_ms: int,
    *,
    steps: int = 0,
    errors: int = 0,
    latency: dict[int, int] | None = None,
    agents: dict[str, int] | None = None,
    life: str = "00",
    **values: float,
) -> NodeSample:
    """A heartbeat of a node that runs one kind, "Worker"; ``agents`` are versions."""
    return NodeSample(
        node,
        life,
        sequence,
        T0 + at_ms,
        {name: AgentSeen("Worker", version, False) for name, version in (agents or {}).items()},
        {"Worker": KindCounts(steps, errors, 0, latency or {})},
        values,
    )


def commit(partition: int, start: int, at_ms: int, events: int) -> CommitSample:
    """A commit of the compactor."""
    return CommitSample(partition, start, T0 + at_ms, {"commits": 1, "events": events}, 3.0)


def made_up(seed: int, seconds: int = 12) -> list[Sample]:
    """A log: two nodes, one of which is started again, commits, an aborted one, recoveries, repeats
    and late ones, and the clock. After its last record every window is over.
    """
    choose = random.Random(seed)
    log: list[Sample] = []
    totals = {"n1": 0, "n2": 0}
    lives = {"n1": ("a1", 0), "n2": ("b1", 0)}
    start = 0
    for second in range(seconds):
        for node in totals:
            if node == "n2" and second == seconds // 2:
                totals[node], lives[node] = 0, ("b2", 0)
            life, sequence = lives[node]
            lives[node] = life, sequence + 1
            totals[node] += choose.randrange(20)
            steps = totals[node]
            log.append(
                beat(
                    node,
                    sequence,
                    second * 1000 + choose.randrange(900),
                    steps=steps,
                    errors=steps // 7,
                    latency={40: steps},
                    life=life,
                    agents={f"{node}-{n}": steps // 2 for n in range(3)},
                    cpu=choose.random(),
                    memory_bytes=choose.randrange(10**9),
                )
            )
        events = choose.randrange(1, 50)
        log.append(commit(0, start, second * 1000 + 300, events))
        if choose.random() < 0.3:  # that one was aborted: more came until it was made again
            events += 5
            log.append(commit(0, start, second * 1000 + 1700, events))
        start += events
        log.append(
            OutcomeSample(f"{second}/1", "node:n1", T0 + second * 1000 + 5, second % 3 > 0, 40.0)
        )
        if choose.random() < 0.5:
            log.append(choose.choice([each for each in log if not isinstance(each, Tick)]))
        log.append(Tick(T0 + second * 1000 + 400))
    late = [log.pop(n) for n in sorted(choose.sample(range(len(log)), 3), reverse=True)]
    log += [each for each in late if not isinstance(each, Tick)]
    log.append(Tick(T0 + (seconds + 30) * 1000))
    return log


class Player:
    """A worker: a board, the records that it keeps, and what it published, by key."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        self.published: dict[str, Metric] = {}
        self.board = Board(WINDOWS)

    def restart(self) -> None:
        """Nothing is left but the records."""
        self.board = Board(WINDOWS, self.records.items())

    def take(self, sample: Sample, *, writes: int | None = None) -> None:
        """Take one in; of what is to be written only so much is, where ``writes`` says so."""
        if isinstance(sample, Tick):
            found = self.board.tick(sample.now_ms)
            self.published.update({metric_key(m): m for m in found[:writes]})
            if writes is None:
                self._write(self.board.settle(sample.now_ms))
        else:
            self._write(self.board.take(sample)[:writes])

    def _write(self, writes: Sequence[tuple[str, bytes | None]]) -> None:
        for key, value in writes:
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value

    def play(self, log: Sequence[Sample]) -> dict[str, Metric]:
        """Take everything in; what was published last."""
        for sample in log:
            self.take(sample)
        return self.published
