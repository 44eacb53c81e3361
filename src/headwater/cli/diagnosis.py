"""The doctor's checks, each a few findings; none changes anything."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from confluent_kafka import libversion
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource, ResourceType

from headwater.cli.context import explained
from headwater.cli.errors import AuthenticationRefused
from headwater.cli.output import counted
from headwater.cli.positions import PartitionState, partition_states
from headwater.config import Config
from headwater.errors import HeadwaterError, Unavailable
from headwater.kafka.clients import admin
from headwater.kafka.errors import mapped
from headwater.topics import ALL, find_problems

Level = Literal["ok", "warning", "problem"]
_WATCH_S = 2.0
_LIBRARIES = ("headwater", "confluent-kafka", "fastavro", "msgspec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at; ``advice`` says what to do, ``details`` what was measured."""

    check: str
    level: Level
    message: str
    advice: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def diagnose(config: Config) -> Iterator[Finding]:
    """Every finding, as soon as it is made; what cannot be looked at any more is left out."""
    yield _versions()
    try:
        client = admin(config)
        cluster = _ask(config, client)
    except HeadwaterError as error:
        yield _unreachable(config, error)
        return
    yield _kafka(config, cluster)
    try:
        if missing := _missing(config, cluster):
            yield Finding(
                check="topics",
                level="problem",
                message=f"missing: {', '.join(missing)}",
                advice="run `headwater doctor --fix`, or `headwater up`",
                details={"missing": missing},
            )
            return
        yield from _topics(config)
        yield from _replication(config, client, cluster)
        yield from _compactor(config, client, cluster)
    except HeadwaterError as error:
        yield Finding(
            check="settings", level="problem", message=str(error), advice="mend it and look again"
        )


def missing_topics(config: Config) -> list[str]:
    """The topics that are not there."""
    return _missing(config, _ask(config, admin(config)))


def _ask(config: Config, client: AdminClient) -> ClusterMetadata:
    with mapped(f"asking {config.bootstrap_servers} for its topics"):
        return client.list_topics(timeout=config.read_timeout.total_seconds())


def _missing(config: Config, cluster: ClusterMetadata) -> list[str]:
    names = (config.topic(spec.name) for spec in ALL)
    return [name for name in names if name not in cluster.topics]


def _versions() -> Finding:
    found = {"python": platform.python_version(), "librdkafka": libversion()[0]}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    text = ", ".join(f"{name} {number}" for name, number in found.items())
    return Finding(check="versions", level="ok", message=text, details=found)


def _unreachable(config: Config, error: HeadwaterError) -> Finding:
    reason = explained(config, error) if isinstance(error, Unavailable) else error
    advice = (
        "check the credentials and security.protocol"
        if isinstance(reason, AuthenticationRefused)
        else "start one with `headwater up`, or name the right one in HEADWATER_BOOTSTRAP_SERVERS"
    )
    return Finding(check="kafka", level="problem", message=str(reason), advice=advice)


def _kafka(config: Config, cluster: ClusterMetadata) -> Finding:
    brokers = sorted(f"{each.host}:{each.port}" for each in cluster.brokers.values())
    release = _release(config)
    message = (
        f"{release or 'Kafka'} at {config.bootstrap_servers}, {counted(len(brokers), 'broker')}"
    )
    details = {"release": release, "brokers": brokers, "cluster_id": cluster.cluster_id}
    if len(brokers) > 1:
        return Finding(check="kafka", level="ok", message=message, details=details)
    return Finding(
        check="kafka",
        level="warning",
        message=f"{message}: it acknowledges from its page cache and has no replica, so a crash "
        "of its machine can lose what was acknowledged",
        advice="for data that matters use three brokers or more (`headwater up --brokers 3` here)",
        details=details,
    )


def _release(config: Config) -> str | None:
    """What runs, where that is known: Kafka's protocol does not tell its release."""
    from headwater.local import SIZES, LocalKafka, data_dir

    for size in SIZES:
        found = LocalKafka.find(data_dir(size))
        if found is not None and found.bootstrap_servers == config.bootstrap_servers:
            return f"Apache Kafka {found.status.kafka} (local)"
    return None


def _topics(config: Config) -> Iterator[Finding]:
    problems = find_problems(config)
    for problem in problems:
        yield Finding(
            check="topics",
            level="problem",
            message=problem,
            advice="put the setting right with kafka-configs.sh --alter (partitions can only grow)",
        )
    if not problems:
        message = f"all {len(ALL)} are there, settings as they must be"
        yield Finding(check="topics", level="ok", message=message)


def _replication(
    config: Config, client: AdminClient, cluster: ClusterMetadata
) -> Iterator[Finding]:
    partitions = [
        (f"{name}[{each.id}]", each)
        for name in (config.topic(spec.name) for spec in ALL)
        for each in cluster.topics[name].partitions.values()
    ]
    replicas = min(len(each.replicas) for _, each in partitions)
    short = [name for name, each in partitions if len(each.isrs) < len(each.replicas)]
    least = _min_isr(config, client)
    details = {"replication": replicas, "min_insync_replicas": least, "under_replicated": short}
    if short:
        shown = ", ".join(short[:5]) + (" ..." if len(short) > 5 else "")
        yield Finding(
            check="replication",
            level="problem",
            message=f"{counted(len(short), 'partition')} without all replicas in sync: {shown}",
            advice="bring the missing broker back, or wait until it has caught up",
            details=details,
        )
        return
    message = f"{counted(replicas, 'replica')}, {least} of them in sync at least to acknowledge"
    advice = ""
    if len(cluster.brokers) >= 3 and replicas < 3:
        advice = "raise the replication to 3 with kafka-reassign-partitions.sh"
    elif replicas >= 3 and least < 2:
        advice = "set min.insync.replicas=2 with kafka-configs.sh: one broker alone acknowledges"
    yield Finding(
        check="replication",
        level="warning" if advice else "ok",
        message=message,
        advice=advice,
        details=details,
    )


def _min_isr(config: Config, client: AdminClient) -> int:
    resources = [ConfigResource(ResourceType.TOPIC, config.topic(spec.name)) for spec in ALL]
    with mapped("reading the topics' settings"):
        described = [future.result() for future in client.describe_configs(resources).values()]
    return min(int(settings["min.insync.replicas"].value) for settings in described)


def _compactor(config: Config, client: AdminClient, cluster: ClusterMetadata) -> Iterator[Finding]:
    members = _members(config, client)
    spread = min(len(cluster.topics[config.topic(each)].partitions) for each in ("events", "index"))
    states = partition_states(config, spread)
    behind = [each for each in states if each.lag and each.parked is None]
    if behind and members:
        time.sleep(_WATCH_S)
        now = {each.partition: each for each in partition_states(config, spread)}
        stuck = [each for each in behind if now[each.partition].next_offset == each.next_offset]
        behind = [each for each in stuck if now[each.partition].lag]
    yield _liveness(members, states, behind)
    for each in states:
        if each.parked is not None:
            yield Finding(
                check="parked",
                level="problem",
                message=f"events[{each.partition}] stands still at offset {each.next_offset}: "
                f"{each.parked}",
                advice="upgrade headwater where the compactor runs; nothing was lost",
                details={"partition": each.partition, "offset": each.next_offset},
            )
    yield from _refused(config, states)


def _liveness(
    members: int | None, states: list[PartitionState], behind: list[PartitionState]
) -> Finding:
    lag = sum(each.lag for each in states)
    details = {
        "instances": members,
        "lag": lag,
        "partitions": [
            {"partition": each.partition, "position": each.next_offset, "lag": each.lag}
            for each in states
        ],
    }
    running = "running" if members is None else f"{counted(members, 'instance')} running"
    if members == 0:
        return Finding(
            check="compactor",
            level="problem" if lag else "warning",
            message=f"none is running; {lag} events are not in snapshots yet",
            advice="run `headwater compact`, or `headwater up`; until then recoveries get slower, "
            "nothing else",
            details=details,
        )
    if behind:
        shown = ", ".join(f"events[{each.partition}] by {each.lag}" for each in behind[:5])
        return Finding(
            check="compactor",
            level="problem",
            message=f"{running}, but behind and not moving: {shown}",
            advice="look at its log; run it with `headwater -v compact`",
            details=details,
        )
    return Finding(
        check="compactor", level="ok", message=f"{running}, lag {lag} events", details=details
    )


def _members(config: Config, client: AdminClient) -> int | None:
    """How many instances the compactor's group has; None where the brokers do not tell."""
    group = f"{config.prefix}compactor"
    timeout = config.read_timeout.total_seconds()
    try:
        with mapped("asking for the compactor's group"):
            future = client.describe_consumer_groups([group], request_timeout=timeout)[group]
            return len(future.result().members)
    except Unavailable:
        return None
    except HeadwaterError:
        return 0  # a group that never had a member is not there


def _refused(config: Config, states: list[PartitionState]) -> Iterator[Finding]:
    counts = {
        name: sum(getattr(each, name) for each in states)
        for name in ("repeats", "stale", "conflicts", "dead_letters")
    }
    letters = counts["dead_letters"]
    text = (
        f"{counts['repeats']} repeats, {counts['stale']} stale and {counts['conflicts']} "
        "conflicting records so far, none of them counted"
    )
    yield Finding(check="refused", level="ok", message=text, details=counts)
    if letters:
        yield Finding(
            check="dead letters",
            level="warning",
            message=f"{counted(letters, 'record')} that nobody could read, set aside",
            advice=f"read topic {config.topic('dead-letters')}: each says its reason and place",
            details={"dead_letters": letters},
        )
    else:
        yield Finding(check="dead letters", level="ok", message="none")
