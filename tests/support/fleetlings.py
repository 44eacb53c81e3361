"""Heartbeats and lives for tests without Kafka."""

from __future__ import annotations

from typing import Any

from headwater.fleet.pulse import Life
from headwater.fleet.records import (
    AgentReport,
    Heartbeat,
    KindReport,
    NodeMode,
    PeerReport,
    Resources,
)

INTERVAL_S = 0.2
LEASE_S = 0.6
ONE = b"1" * 16
TWO = b"2" * 16


def beat(node_id: str = "n", sequence: int = 1, **fields: Any) -> Heartbeat:
    """A node's heartbeat."""
    usual: dict[str, Any] = {
        "incarnation": ONE,
        "lease_ms": round(LEASE_S * 1000),
        "sent_at": 1000 + 200 * sequence,
        "mode": NodeMode.RUNNING,
    }
    return Heartbeat(node_id=node_id, sequence=sequence, **(usual | fields))


def life(node_id: str = "n", *, at_s: float = 0.0, **fields: Any) -> Life:
    """A node that has sent one complete heartbeat."""
    record = beat(node_id, agents_complete=True, **fields)
    made = Life(node_id, record.incarnation, 0, at_s, at_s, record)
    made.take(record, at_s)
    return made


def sees(**peers: bool) -> list[PeerReport]:
    """Whom a node reaches and whom not."""
    return [PeerReport(node_id=name, reachable=ok) for name, ok in peers.items()]


def has(memory: float = 0.1, disk: float = 0.1, files: float = 0.1) -> Resources:
    """Shares of resources in use."""
    return Resources(
        cpu=0.1,
        cpu_limit=1.0,
        memory_bytes=round(memory * 1e9),
        memory_limit_bytes=10**9,
        disk_free_bytes=round((1 - disk) * 1e9),
        disk_total_bytes=10**9,
        open_files=round(files * 1e6),
        open_files_limit=10**6,
        loop_lag_ms=0.0,
        broker_rtt_ms=1.0,
    )


def agent(agent_id: str = "a", **fields: Any) -> AgentReport:
    """An agent as its node has it."""
    return AgentReport(agent_id=agent_id, kind="K", **fields)


def kind(**fields: Any) -> KindReport:
    """A kind as its node has it."""
    return KindReport(kind="K", **fields)
