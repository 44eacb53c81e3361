"""What becomes a sample, what does not, and what percentiles are worth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import Config
from headwater.errors import ConfigError
from headwater.fleet.records import (
    AgentMode,
    AgentReport,
    FailureType,
    Heartbeat,
    KindReport,
    LatencyBucket,
    RecoveryResult,
    RecoveryStatus,
    Resources,
    Severity,
)
from headwater.node.tally import bucket_of
from streams.insights.cells import bucket_figures, figures
from streams.insights.credentials import credentials
from streams.insights.samples import (
    AgentSeen,
    KindCounts,
    Tick,
    decode_sample,
    encode_sample,
    sample_beat,
    sample_commit,
    sample_outcome,
)

RESOURCES = Resources(
    cpu=1.0,
    cpu_limit=4.0,
    memory_bytes=200,
    memory_limit_bytes=1000,
    disk_free_bytes=900,
    disk_total_bytes=1000,
    open_files=10,
    open_files_limit=0,
    loop_lag_ms=2.0,
    broker_rtt_ms=-1.0,
)


def heartbeat(*, complete: bool = True, kind: str = "BEAT") -> Heartbeat:
    """A beat with an agent that is there, one that fails, and one that has left."""
    return Heartbeat(
        node_id="n1",
        incarnation=b"i" * 16,
        kind=kind,
        sequence=7,
        lease_ms=3000,
        sent_at=5,
        agents_complete=complete,
        agents=[
            AgentReport(agent_id="a", kind="W", version=3),
            AgentReport(agent_id="b", kind="W", version=4, restarts=2),
            AgentReport(agent_id="c", kind="W", state=AgentMode.GONE),
        ],
        kinds=[KindReport(kind="W", steps=9, latency=[LatencyBucket(bucket=-3, count=9)])],
        resources=RESOURCES,
    )


def test_a_complete_heartbeat() -> None:
    """Its agents, its kinds, its resources and their shares; what is not known is left out."""
    sample = sample_beat(heartbeat(), 1234)
    assert sample is not None
    assert (sample.node_id, sample.sequence, sample.at_ms) == ("n1", 7, 1234)
    assert sample.agents == {"a": AgentSeen("W", 3, False), "b": AgentSeen("W", 4, True)}
    assert sample.kinds == {"W": KindCounts(9, 0, 0, {-3: 9})}
    assert sample.values["cpu_share"] == 0.25
    assert sample.values["memory_share"] == 0.2
    assert sample.values["disk_share"] == 0.1
    assert not {"broker_rtt_ms", "open_files_share"} & sample.values.keys()
    assert decode_sample(encode_sample(sample)) == sample


def test_others_are_no_samples() -> None:
    """The next complete one holds all that a beat in between says; a probe says nothing."""
    assert sample_beat(heartbeat(complete=False), 0) is None
    assert sample_beat(heartbeat(kind="PROBE"), 0) is None


def result(status: RecoveryStatus) -> RecoveryResult:
    """A recovery's record."""
    return RecoveryResult(
        failure_id="f" * 32,
        type=FailureType.TIMEOUT,
        severity=Severity.MEDIUM,
        component="agent:a",
        status=status,
        attempt=2,
        started_at=100,
        finished_at=350,
    )


def test_recoveries() -> None:
    """One that goes on, or was not needed, has not ended; partly is not well."""
    assert sample_outcome(result(RecoveryStatus.RUNNING)) is None
    assert sample_outcome(result(RecoveryStatus.SKIPPED)) is None
    partial = sample_outcome(result(RecoveryStatus.PARTIAL))
    assert partial is not None
    assert (partial.good, partial.took_ms, partial.at_ms) == (False, 250, 350)
    assert decode_sample(encode_sample(partial)) == partial


def test_commits_and_ticks() -> None:
    """Both come back as they were."""
    names = ("events", "refused", "dead_letters", "status_changes", "event_bytes")
    record = dict.fromkeys(names, 3) | {"partition": 1, "start": 5, "committed_at": 9}
    sample = sample_commit({**record, "took_ms": 2.5})
    assert sample.counts["commits"] == 1 and sample.counts["events"] == 3
    assert decode_sample(encode_sample(sample)) == sample
    assert decode_sample(encode_sample(Tick(5))) == Tick(5)


@given(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=200))
def test_buckets_are_within_half_a_bucket(times: list[float]) -> None:
    """Of the percentiles of the times themselves; count is exact, the extremes are bounds."""
    buckets: dict[int, int] = {}
    for each in times:
        buckets[bucket_of(each)] = buckets.get(bucket_of(each), 0) + 1
    exact, found = figures(times), bucket_figures(buckets)
    assert found["count"] == len(times)
    for name in ("sum", "p50", "p95", "p99"):
        assert found[name] == pytest.approx(exact[name], rel=0.05)
    assert found["min"] <= exact["min"] * 1.0001 and found["max"] >= exact["max"] * 0.9999


def test_percentiles_by_rank() -> None:
    """Each is one of the samples: the least that so many are not above."""
    found = figures(range(1, 101))
    assert (found["p50"], found["p95"], found["p99"]) == (50, 95, 99)
    assert figures([7.0])["p99"] == 7.0


def config(**kafka: str) -> Config:
    """Settings with these properties of librdkafka."""
    names = {name.replace("_", "."): value for name, value in kafka.items()}
    return Config(bootstrap_servers="b:1", kafka=names)


def test_credentials() -> None:
    """Properties of librdkafka, as Faust takes them; what it does not know is refused."""
    assert credentials(config()) is None
    found = credentials(
        config(
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username="u",
            sasl_password="p",
        )
    )
    assert found is not None
    assert (found.username, found.mechanism.value) == ("u", "SCRAM-SHA-512")
    assert found.ssl_context is not None
    assert credentials(config(security_protocol="ssl")) is not None
    with pytest.raises(ConfigError, match="GSSAPI"):
        credentials(config(security_protocol="SASL_SSL", sasl_mechanism="GSSAPI"))
