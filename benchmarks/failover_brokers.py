"""The part of `failover` that kills partitions' leaders."""

from __future__ import annotations

import itertools
import random
import threading
import time

from confluent_kafka import ElectionType

import headwater
from headwater import Client
from headwater.agent.session import Session
from headwater.config import Config
from headwater.kafka import clients
from headwater.local import LocalKafka

_PATIENCE_S = 60.0
_CALM_S = 1.0
_DELETION_S = 6.0
_ELECTED_S = 8.0
"""Leaders that move cost nodes their leases: they are to be back at work."""


def settle_brokers(config: Config, kafka: LocalKafka) -> None:
    """Wait until every partition has all its replicas in sync and is led by the broker that was
    meant to: after one was away the others do its work too, by default for five minutes.
    """
    admin = clients.admin(config)
    deadline = time.monotonic() + _PATIENCE_S
    moved = False
    while time.monotonic() < deadline:
        topics = admin.list_topics(timeout=10).topics
        partitions = [p for topic in topics.values() for p in topic.partitions.values()]
        if partitions and all(len(p.isrs) == len(p.replicas) for p in partitions):
            if all(p.leader == p.replicas[0] for p in partitions):
                time.sleep(_ELECTED_S if moved else 0.0)
                return
            moved = True
            admin.elect_leaders(ElectionType.PREFERRED).result()
        time.sleep(0.1)
    raise RuntimeError(f"the replicas of {kafka.bootstrap_servers} do not get in sync")


def forget_topics(config: Config) -> None:
    """Delete the topics of a fleet that is no more: brokers look at each partition that they have,
    and the next fleet is to find them as they are for one fleet.
    """
    admin = clients.admin(config)
    names = [t for t in admin.list_topics(timeout=10).topics if t.startswith(config.prefix)]
    for deletion in admin.delete_topics(names, operation_timeout=_PATIENCE_S).values():
        deletion.result()
    time.sleep(_DELETION_S)


def leader_of(config: Config, topic: str, partition: int) -> int:
    """The broker that leads a partition."""
    metadata = clients.admin(config).list_topics(config.topic(topic), timeout=10)
    return int(metadata.topics[config.topic(topic)].partitions[partition].leader)


def leader_rounds(config: Config, kafka: LocalKafka, rounds: int) -> list[float]:
    """Seconds from the SIGKILL of an agent's leader to its next acknowledged change.

    Any broker may be the one, so that every third is the controller, too: in turn nearly all were.
    """
    found = []
    with headwater.connect(config) as client:
        for _ in range(rounds):
            broker = random.choice(kafka.nodes)
            agent = _led_by(broker, client, config)
            found.append(_round(agent, kafka, broker))
            kafka.start_node(broker)
            settle_brokers(config, kafka)
            time.sleep(_CALM_S)
            agent.release()
    return found


def _led_by(broker: int, client: Client, config: Config) -> Session:
    """An agent whose partition's leader is this broker."""
    for number in itertools.count():
        agent = client.open(f"leader-probe-{number}")
        assert isinstance(agent, Session)
        if leader_of(config, "events", agent.recovered.partition) == broker:
            return agent
        agent.release()
    raise AssertionError


def _round(agent: Session, kafka: LocalKafka, broker: int) -> float:
    """Changes one after the other, while another thread kills the broker in between."""
    killed = threading.Event()
    died: list[float] = []

    def kill() -> None:
        time.sleep(_CALM_S)
        died.append(time.monotonic())
        kafka.kill(broker)
        killed.set()

    thread = threading.Thread(target=kill)
    thread.start()
    while True:
        began = time.monotonic()
        with agent.change() as state:
            state.step += 1
        now = time.monotonic()
        # A change that began before the kill may have been acknowledged before it, too.
        if died and began > died[0] and killed.is_set():
            break
        if died and now - died[0] > 0.05:
            break
        time.sleep(0.005)
    thread.join()
    return now - died[0]
