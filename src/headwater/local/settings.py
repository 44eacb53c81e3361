"""The broker settings, as pure functions: lean for one broker, fast to fail over for three.

The figures behind them are in ``docs/decisions/0006-the-local-kafka.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"

#: Cluster sizes on offer. Two brokers could not lose one, so there is no such cluster.
SIZES = (1, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One broker, which is a controller too; ids run from 1.

    It listens on ``host``; clients are told to go to ``advertised``, where that is another place.
    """

    id: int
    port: int
    controller_port: int
    host: str = LOOPBACK
    advertised: str = ""

    @property
    def address(self) -> str:
        """Where clients find it, as host:port."""
        return self.advertised or f"{self.host}:{self.port}"


#: What keeps a broker at about 150 MB and its start under a second.
_LEAN = {
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.cleaner.io.buffer.size": "65536",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "num.network.threads": "1",
    "num.io.threads": "2",
    "background.threads": "1",
    "group.coordinator.threads": "1",
    "num.recovery.threads.per.data.dir": "1",
    "broker.heartbeat.interval.ms": "100",
    "controller.quorum.election.timeout.ms": "200",
    "controller.quorum.election.backoff.max.ms": "200",
    "controller.quorum.append.linger.ms": "1",
}

#: What is deleted or superseded goes soon: by default the cleaner looks every 15 s, and deleted
#: segments stay for a minute.
_TIDY = {"log.cleaner.backoff.ms": "500", "log.segment.delete.delay.ms": "5000"}

#: Members may leave and fail quickly, whichever group protocol they use.
_GROUPS = {
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "group.consumer.min.session.timeout.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.assignment.interval.ms": "0",
    "group.streams.initial.rebalance.delay.ms": "0",
}

#: One broker. A session of 2 s is how long a broker that was killed waits before it may return.
_ONE = {
    "broker.session.timeout.ms": "2000",
    "group.consumer.session.timeout.ms": "1500",
    "group.consumer.heartbeat.interval.ms": "300",
}

#: Three brokers: 0.5 s from the kill of a leader to the next acknowledgement, 1.0 s if it was the
#: controller as well; 12.6 s without.
_FAST_FAILOVER = {
    "broker.session.timeout.ms": "400",
    # A fetch of the metadata log that finds nothing new is answered after 500 ms, for which they do
    # not wait: without news more often, controllers elect a new leader twice a second.
    "metadata.max.idle.interval.ms": "100",
    "controller.quorum.request.timeout.ms": "500",
    "controller.quorum.retry.backoff.ms": "10",
    "replica.lag.time.max.ms": "1000",
    "replica.fetch.wait.max.ms": "100",
    "replica.fetch.backoff.ms": "50",
    "group.consumer.session.timeout.ms": "500",
    "group.consumer.heartbeat.interval.ms": "100",
}


def server_properties(
    node: Node, nodes: Sequence[Node], log_dir: str, overrides: Mapping[str, str]
) -> dict[str, str]:
    """The ``server.properties`` of one node; ``overrides`` win over everything."""
    count = len(nodes)
    replicas, in_sync = ("3", "2") if count >= 3 else ("1", "1")
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.id),
        "controller.quorum.voters": ",".join(
            f"{peer.id}@{peer.host}:{peer.controller_port}" for peer in nodes
        ),
        "listeners": (
            f"PLAINTEXT://{node.host}:{node.port},CONTROLLER://{node.host}:{node.controller_port}"
        ),
        "advertised.listeners": f"PLAINTEXT://{node.address}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": log_dir,
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        **_LEAN,
        **_TIDY,
        **_GROUPS,
        **(_FAST_FAILOVER | _patience(node) if count >= 3 else _ONE),
        **overrides,
    }


def _patience(node: Node) -> dict[str, str]:
    """How long a controller waits for its leader: not as long as the others, or each of them votes
    for itself, and they have to begin anew.
    """
    return {"controller.quorum.fetch.timeout.ms": str(250 + 50 * ((node.id - 1) % 3))}


def render(properties: Mapping[str, str]) -> str:
    """A Java properties file, which is read as Latin-1: other characters become escapes."""
    return "".join(f"{_escape(key)}={_escape(value)}\n" for key, value in properties.items())


def _escape(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    units = escaped.encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)
