"""How long a recovery will take, from what it would have to read; reads nothing itself.

A recovery's time is taken to be a sum: something for each recovery, each snapshot record, each of
their bytes, and each record of the tail, whichever agent's, for all of them have to be looked at.
The four rates are fitted to measured recoveries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from datetime import timedelta
from statistics import median

from headwater.log.snapshots import Pointer

RECORD_BYTES = 350
"""About what a snapshot record adds to its payload: key, hashes, checksum, names."""
CHUNK_BYTES = 900_000
"""Payloads beyond this are in several records."""

_PARTITION_AGENTS = 100
"""What reading a partition takes in any case, as so many agents' fixed part."""
_PRIOR_WEIGHT = 1e-4
_LEAST = 1e-3
_SWEEPS = 1000
_CLOSE = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What recovering an agent would read: snapshot records and their bytes, and the records in
    its partition of events that no snapshot covers yet, every agent's.
    """

    records: int
    size_bytes: int
    tail_records: int = 0

    @classmethod
    def of(cls, chain: Iterable[Pointer], tail_records: int = 0) -> Reading:
        """What a chain of snapshots and a tail come to. Bytes are those before compression."""
        sizes = [pointer.size for pointer in chain]
        return cls(
            records=sum(map(records_of, sizes)),
            size_bytes=sum(sizes) + RECORD_BYTES * len(sizes),
            tail_records=tail_records,
        )


def records_of(size_bytes: int) -> int:
    """Records that hold one snapshot of that size: its own, and its chunks if it has some."""
    return 1 if size_bytes <= CHUNK_BYTES else 1 - -size_bytes // CHUNK_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Seconds that a recovery takes: in any case, for each snapshot record, for each byte of those,
    and for each record of the tail. None is below 0.
    """

    fixed_s: float
    record_s: float
    byte_s: float
    tail_record_s: float

    def seconds(self, reading: Reading) -> float:
        """The predicted time."""
        return (
            self.fixed_s
            + self.record_s * reading.records
            + self.byte_s * reading.size_bytes
            + self.tail_record_s * reading.tail_records
        )

    def scaled(self, factor: float) -> Rates:
        """The same where everything takes ``factor`` times as long."""
        return _rates(rate * factor for rate in astuple(self))


def _rates(values: Iterable[float]) -> Rates:
    fixed_s, record_s, byte_s, tail_record_s = values
    return Rates(fixed_s=fixed_s, record_s=record_s, byte_s=byte_s, tail_record_s=tail_record_s)


TYPICAL = Rates(fixed_s=1e-3, record_s=1e-3, byte_s=5e-9, tail_record_s=2e-6)
"""One agent by a client that follows the index, on a small shared machine with a broker on it."""
TYPICAL_BULK = Rates(fixed_s=1e-4, record_s=4e-5, byte_s=5e-9, tail_record_s=2e-6)
"""Each of many agents, recovered at once there; the tail of a partition is read once for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What recovering one agent would read, and the time that this predicts.

    ``records`` are snapshots and the tail of the agent's partition, ``tail_records`` the latter
    alone; ``size_bytes`` are the snapshots', before compression (the tail's are not known unread).
    """

    agent_id: str
    records: int
    size_bytes: int
    tail_records: int
    seconds: float

    @property
    def duration(self) -> timedelta:
        """The predicted time."""
        return timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPrediction:
    """Each agent by itself, and all of them at once: ``records``, ``size_bytes`` and ``seconds``
    of a ``recover_many()``, which reads each partition's tail once.
    """

    agents: tuple[Prediction, ...]
    records: int
    size_bytes: int
    seconds: float

    @property
    def longest(self) -> Prediction | None:
        """The agent whose own recovery takes longest; None where there is no agent."""
        return max(self.agents, key=lambda each: each.seconds, default=None)


def predict(agent_id: str, reading: Reading, rates: Rates) -> Prediction:
    """The prediction for one agent."""
    return Prediction(
        agent_id=agent_id,
        records=reading.records + reading.tail_records,
        size_bytes=reading.size_bytes,
        tail_records=reading.tail_records,
        seconds=rates.seconds(reading),
    )


def predict_fleet(
    agents: Sequence[Prediction], readings: Iterable[Reading], tails: Iterable[int], bulk: Rates
) -> FleetPrediction:
    """The prediction for a fleet: each agent's, what each reads, and every partition's tail."""
    read, behind = list(readings), list(tails)
    return FleetPrediction(
        agents=tuple(agents),
        records=sum(r.records for r in read) + sum(behind),
        size_bytes=sum(r.size_bytes for r in read),
        seconds=bulk_seconds(read, behind, bulk),
    )


def bulk_seconds(readings: Iterable[Reading], tails: Sequence[int], bulk: Rates) -> float:
    """The predicted time of recovering many agents at once, from partitions with such tails."""
    each = sum(bulk.seconds(Reading(records=r.records, size_bytes=r.size_bytes)) for r in readings)
    return each + bulk.tail_record_s * sum(tails) + bulk.fixed_s * _PARTITION_AGENTS * len(tails)


def fit(measured: Sequence[tuple[Reading, float]], prior: Rates = TYPICAL) -> Rates:
    """The rates that come closest to ``measured`` recoveries, each with its seconds.

    Least squares of the relative errors, with no rate below a thousandth of the prior one, by
    coordinate descent. ``prior`` counts as a ten-thousandth of one recovery for each rate, so that
    what a sample cannot tell apart stays near it. At the end all rates are scaled so that half of
    the recoveries took longer than predicted: relative errors lean to the fast ones.
    """
    known = [(reading, seconds) for reading, seconds in measured if seconds > 0]
    if not known:
        return prior
    base = astuple(prior)
    rows = [
        [rate * amount / seconds for rate, amount in zip(base, _amounts(reading), strict=True)]
        for reading, seconds in known
    ]
    factors = _nonnegative(rows)
    rates = _rates(rate * factor for rate, factor in zip(base, factors, strict=True))
    # No rate is 0, so no prediction is.
    return rates.scaled(median(seconds / rates.seconds(reading) for reading, seconds in known))


def _amounts(reading: Reading) -> tuple[float, ...]:
    return 1.0, reading.records, reading.size_bytes, reading.tail_records


def _nonnegative(rows: Sequence[Sequence[float]]) -> list[float]:
    """Factors x for the columns, none below _LEAST: the least |rows x - 1|^2 + weight |x - 1|^2."""
    columns = list(zip(*rows, strict=True))
    products = [
        [sum(a * b for a, b in zip(one, other, strict=True)) for other in columns]
        for one in columns
    ]
    wanted = [sum(column) + _PRIOR_WEIGHT for column in columns]
    factors = [1.0] * len(columns)
    for _ in range(_SWEEPS):
        moved = 0.0
        for j, row in enumerate(products):
            others = sum(row[k] * factors[k] for k in range(len(row)) if k != j)
            value = max(_LEAST, (wanted[j] - others) / (row[j] + _PRIOR_WEIGHT))
            moved = max(moved, abs(value - factors[j]))
            factors[j] = value
        if moved < _CLOSE:
            break
    return factors
