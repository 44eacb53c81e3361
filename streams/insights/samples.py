"""What of the topics' records counts: one small sample for each, and the ticks of the clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headwater.fleet.records import (
    AgentMode,
    Heartbeat,
    RecoveryResult,
    RecoveryStatus,
    Resources,
)


class KindCounts(msgspec.Struct, frozen=True, array_like=True):
    """What the steps of one kind came to since its process began. ``latency``: steps by bucket,
    floor(8 log2(ms)).
    """

    steps: int = 0
    errors: int = 0
    timeouts: int = 0
    latency: dict[int, int] = {}


class AgentSeen(msgspec.Struct, frozen=True, array_like=True):
    """One agent of a node."""

    kind: str
    version: int
    failing: bool


class NodeSample(msgspec.Struct, frozen=True, array_like=True, tag="node"):
    """A complete heartbeat. ``values``: its resources, and their shares of their limits."""

    node_id: str
    incarnation: str
    sequence: int
    at_ms: int
    agents: dict[str, AgentSeen]
    kinds: dict[str, KindCounts]
    values: dict[str, float]


class CommitSample(msgspec.Struct, frozen=True, array_like=True, tag="commit"):
    """A commit of the compactor. One with the same partition and start takes its place."""

    partition: int
    start: int
    at_ms: int
    counts: dict[str, int]
    took_ms: float


class OutcomeSample(msgspec.Struct, frozen=True, array_like=True, tag="outcome"):
    """A recovery that has ended."""

    recovery: str
    component: str
    at_ms: int
    good: bool
    took_ms: float


class Tick(msgspec.Struct, frozen=True, array_like=True, tag="tick"):
    """The time by the clock of an instance: what windows are over follows from the log alone."""

    now_ms: int


Sample = NodeSample | CommitSample | OutcomeSample | Tick

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Sample] = msgspec.msgpack.Decoder(Sample)


def encode_sample(sample: Sample) -> bytes:
    """The bytes of a sample."""
    return _encode(sample)


def decode_sample(value: bytes) -> Sample:
    """The sample of these bytes. Raises :class:`msgspec.MsgspecError` for others."""
    return _decoder.decode(value)


def sample_beat(beat: Heartbeat, at_ms: int) -> NodeSample | None:
    """The sample of a heartbeat that was written at ``at_ms``; None for one that is not complete,
    for the next that is holds all that it says.
    """
    if beat.kind != "BEAT" or not beat.agents_complete:
        return None
    return NodeSample(
        beat.node_id,
        beat.incarnation.hex(),
        beat.sequence,
        at_ms,
        {
            agent.agent_id: AgentSeen(agent.kind, agent.version, agent.restarts > 0)
            for agent in beat.agents
            if agent.state != AgentMode.GONE
        },
        {
            kind.kind: KindCounts(
                kind.steps,
                kind.errors,
                kind.timeouts,
                {bucket.bucket: bucket.count for bucket in kind.latency},
            )
            for kind in beat.kinds
        },
        {} if beat.resources is None else _values(beat.resources),
    )


def _values(has: Resources) -> dict[str, float]:
    values: dict[str, float] = {
        "cpu": has.cpu,
        "memory_bytes": has.memory_bytes,
        "disk_free_bytes": has.disk_free_bytes,
        "open_files": has.open_files,
        "loop_lag_ms": has.loop_lag_ms,
    }
    if has.broker_rtt_ms >= 0:
        values["broker_rtt_ms"] = has.broker_rtt_ms
    for name, used, limit in (
        ("cpu_share", has.cpu, has.cpu_limit),
        ("memory_share", has.memory_bytes, has.memory_limit_bytes),
        ("disk_share", has.disk_total_bytes - has.disk_free_bytes, has.disk_total_bytes),
        ("open_files_share", has.open_files, has.open_files_limit),
    ):
        if limit > 0:
            values[name] = used / limit
    return values


def sample_commit(record: Mapping[str, Any]) -> CommitSample:
    """The sample of a CompactorCommit."""
    names = ("events", "refused", "dead_letters", "status_changes", "event_bytes")
    return CommitSample(
        record["partition"],
        record["start"],
        record["committed_at"],
        {"commits": 1, **{name: record[name] for name in names}},
        record["took_ms"],
    )


def sample_outcome(result: RecoveryResult) -> OutcomeSample | None:
    """The sample of a recovery; None for one that goes on, and for one that was not needed."""
    if result.status in (RecoveryStatus.RUNNING, RecoveryStatus.SKIPPED):
        return None
    return OutcomeSample(
        f"{result.failure_id}/{result.attempt}",
        result.component,
        result.finished_at,
        result.status is RecoveryStatus.SUCCEEDED,
        max(0, result.finished_at - result.started_at),
    )
