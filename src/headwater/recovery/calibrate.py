"""Predicts the recovery time of a cluster's agents, by rates measured on some of them."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from headwater.errors import AgentNotFound, HeadwaterError
from headwater.log.snapshots import IndexEntry, decode_entry
from headwater.recovery.bulk import recover_partition
from headwater.recovery.index import IndexPartition
from headwater.recovery.predict import (
    TYPICAL,
    TYPICAL_BULK,
    FleetPrediction,
    Prediction,
    Rates,
    Reading,
    bulk_seconds,
    fit,
    predict,
    predict_fleet,
)
from headwater.recovery.recover import Recovery

log = logging.getLogger("headwater.recovery")

_SAMPLE = 64
"""Agents that are recovered to measure the rates, at most."""
_CANDIDATES = 256
"""Agents of which those are chosen, so that all sizes are among them."""
_BULK_BYTES = 4_000_000
"""About as many are recovered at once to measure the bulk rate."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    agent_id: str
    reading: Reading


class Predictor:
    """Predicts recoveries by one :class:`Recovery`, with rates measured when first needed.

    What is measured is what that object does: where it follows the index, recoveries of a warm
    client; where it does not, each reads its index partition, too. Safe for several threads.
    """

    def __init__(self, recovery: Recovery, clock: Callable[[], float] = time.perf_counter) -> None:
        self._recovery = recovery
        self._clock = clock
        self._lock = threading.Lock()
        self._rates: Rates | None = None
        self._bulk: Rates | None = None

    def predict(self, agent_id: str) -> Prediction:
        """The prediction for one agent; recovers nothing once the rates are known.

        Raises :class:`AgentNotFound` where neither index nor tail can hold it.
        """
        reading = self._reading_of(agent_id)
        return predict(agent_id, reading, self._known_rates(self._recovery.partition_of(agent_id)))

    def fleet(self, entries: Iterable[IndexEntry] | None = None) -> FleetPrediction:
        """The prediction for each agent of ``entries``, and for all at once.

        None: those in the index, which misses agents that the compactor has not met yet.
        """
        recovery = self._recovery
        tails: dict[int, int] = {}
        if entries is None:
            entries = self._indexed(tails)
        found = list(entries)
        readings = []
        for entry in found:
            partition = recovery.partition_of(entry.head.agent_id)
            if partition not in tails:
                tails[partition] = self._tail(partition, recovery.index(partition).next_offset)
            readings.append(Reading.of(entry.snapshots, tails[partition]))
        rates = self._known_rates(0)
        agents = [
            predict(entry.head.agent_id, reading, rates)
            for entry, reading in zip(found, readings, strict=True)
        ]
        return predict_fleet(agents, readings, tails.values(), self._bulk_rates(found, tails))

    def calibrate(self, agent_ids: Iterable[str] | None = None, *, seconds: float = 1.0) -> Rates:
        """Measure the rates anew: recover some of ``agent_ids`` (None: of all), small and large
        ones, until about ``seconds`` have passed.
        """
        if agent_ids is None:
            candidates = list(self._candidates(0))
        else:
            candidates = [_Candidate(each, self._reading_of(each)) for each in agent_ids]
        rates = fit(list(self._measured(candidates, seconds)))
        with self._lock:
            self._rates = rates
        return rates

    def _known_rates(self, near: int, seconds: float = 1.0) -> Rates:
        with self._lock:
            if self._rates is None:
                self._rates = fit(list(self._measured(list(self._candidates(near)), seconds)))
            return self._rates

    def _measured(
        self, candidates: Sequence[_Candidate], seconds: float
    ) -> Iterator[tuple[Reading, float]]:
        deadline: float | None = None
        for candidate in _spread(candidates):
            started = self._clock()
            try:
                self._recovery.look(candidate.agent_id)
            except HeadwaterError as error:
                log.debug("agent %r is left out: %s", candidate.agent_id, error)
                continue
            ended = self._clock()
            if deadline is None:
                # The first one makes connections, and does not count.
                deadline = ended + seconds
            elif ended <= deadline:
                yield candidate.reading, ended - started
            if ended > deadline:
                return

    def _candidates(self, near: int) -> Iterator[_Candidate]:
        """Up to _CANDIDATES agents, from partition ``near`` on."""
        partitions, left = self._recovery.partitions, _CANDIDATES
        for number in range(partitions):
            partition = (near + number) % partitions
            index = self._recovery.index(partition)
            tail = self._tail(partition, index.next_offset)
            values = random.Random(partition).sample(
                list(index.entries.values()), min(left, len(index.entries))
            )
            for value in values:
                entry = decode_entry(value)
                if entry.head.exists and entry.snapshots:
                    yield _Candidate(entry.head.agent_id, Reading.of(entry.snapshots, tail))
                    left -= 1
            if left <= _CANDIDATES // 2:
                return

    def _reading_of(self, agent_id: str) -> Reading:
        partition = self._recovery.partition_of(agent_id)
        entry, start = self._recovery.lookup(partition, agent_id.encode())
        tail = self._tail(partition, start)
        if not tail and (entry is None or not entry.head.exists):
            raise AgentNotFound(f"agent {agent_id!r} is not in the log, or was deleted")
        return Reading.of(entry.snapshots if entry is not None else (), tail)

    def _tail(self, partition: int, next_offset: int) -> int:
        """Records of events from ``next_offset`` on; markers of transactions among them."""
        recovery = self._recovery
        with recovery.points.lend() as reader:
            first, end = reader.range(recovery.config.topic("events"), partition)
        return max(0, end - max(first, next_offset))

    def _indexed(self, tails: dict[int, int]) -> Iterator[IndexEntry]:
        for partition in range(self._recovery.partitions):
            index: IndexPartition = self._recovery.index(partition)
            tails[partition] = self._tail(partition, index.next_offset)
            for value in index.entries.values():
                entry = decode_entry(value)
                if entry.head.exists:
                    yield entry

    def _bulk_rates(self, entries: Sequence[IndexEntry], tails: dict[int, int]) -> Rates:
        with self._lock:
            if self._bulk is None:
                self._bulk = self._measure_bulk(entries, tails)
            return self._bulk

    def _measure_bulk(self, entries: Sequence[IndexEntry], tails: dict[int, int]) -> Rates:
        """The typical rates, scaled by how long some agents of one partition took at once."""
        recovery = self._recovery
        shares: dict[int, list[IndexEntry]] = {}
        for entry in entries:
            if entry.snapshots:
                shares.setdefault(recovery.partition_of(entry.head.agent_id), []).append(entry)
        if not shares:
            return TYPICAL_BULK
        partition, share = max(shares.items(), key=lambda item: len(item[1]))
        chosen = list(_first_bytes(share))
        expected = bulk_seconds(
            [Reading.of(entry.snapshots) for entry in chosen], [tails[partition]], TYPICAL_BULK
        )
        started = self._clock()
        for _ in recover_partition(
            recovery, partition, {entry.head.agent_id.encode() for entry in chosen}
        ):
            pass
        return TYPICAL_BULK.scaled((self._clock() - started) / expected)


def _spread(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Up to _SAMPLE of them and the first twice, evenly from the cheapest to the dearest, in an
    order in which any beginning has cheap and dear ones.
    """
    ordered = sorted(candidates, key=lambda each: TYPICAL.seconds(each.reading))
    count = min(_SAMPLE, len(ordered))
    if not count:
        return []
    step = (len(ordered) - 1) / max(1, count - 1)
    chosen = [ordered[round(number * step)] for number in range(count)]
    random.Random(count).shuffle(chosen)
    return [chosen[0], *chosen]


def _first_bytes(entries: Sequence[IndexEntry]) -> Iterator[IndexEntry]:
    """Neighbours in the log, as many as have _BULK_BYTES."""
    left = _BULK_BYTES
    for entry in sorted(entries, key=lambda each: each.snapshots[0].offset):
        if left <= 0:
            return
        left -= Reading.of(entry.snapshots).size_bytes
        yield entry
