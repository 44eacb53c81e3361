"""``python -m compose.broker NUMBER HOST...``: one broker of those on the hosts, numbered from 1.

It writes its settings, those of ``headwater kafka start --brokers 3`` but more patient, and becomes
Kafka, so that the container's signals are Kafka's own. Data is in ``/data``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from headwater.local.archive import broker_command, broker_environment
from headwater.local.brokers import prepare
from headwater.local.layout import write_node
from headwater.local.settings import Node

DATA = Path("/data")
PORT, CONTROLLER_PORT = 9092, 9093
#: A broker that waits for its turn on a busy machine must not be taken for dead.
PATIENT = {
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controller.quorum.fetch.timeout.ms": "2000",
    "controller.quorum.request.timeout.ms": "2000",
    "controller.quorum.election.timeout.ms": "1000",
    "replica.lag.time.max.ms": "5000",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.heartbeat.interval.ms": "500",
}


def main(number: int, hosts: list[str]) -> None:
    """Become the broker ``number`` of the cluster."""
    nodes = [
        Node(id=n, port=PORT, controller_port=CONTROLLER_PORT, host=host)
        for n, host in enumerate(hosts, start=1)
    ]
    settings = write_node(
        DATA,
        nodes[number - 1],
        nodes,
        cluster_id=os.environ.get("KAFKA_CLUSTER_ID", "headwater-compose-clst"),
        extra=PATIENT,
    )
    runtime = prepare()
    heap_mb = int(os.environ.get("KAFKA_HEAP_MB", "384"))
    command = broker_command(
        runtime.java, runtime.kafka, settings, heap_mb=heap_mb, archive=runtime.archive
    )
    os.execve(command[0], command, dict(broker_environment()))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
