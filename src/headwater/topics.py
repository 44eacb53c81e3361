"""Headwater's topics: what each must be, how they are made, and the check at connect.

The number of partitions over which agents are spread is recorded once, in the ``layout`` topic,
when the topics are made. Partitions that are added later stay unused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AdminClient,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from headwater.config import Config
from headwater.errors import RetryableError, TopicMismatch, Unavailable
from headwater.kafka import clients
from headwater.kafka.errors import mapped, to_headwater
from headwater.kafka.reader import Reader
from headwater.wire import codec

T = TypeVar("T")

DEFAULT_PARTITIONS = 12
_ASK_S = 3.0
_FOREVER = {"retention.ms": "-1", "retention.bytes": "-1"}
_COMPACTED = {
    "cleanup.policy": "compact",
    # A reader that has just read the index must still find what it points to.
    "min.compaction.lag.ms": "600000",
    "segment.bytes": str(32 << 20),
}
_MESSAGE_BYTES = {"max.message.bytes": "1048588"}
_DAY_MS = 86_400_000
_DAILY = {"cleanup.policy": "delete", "retention.ms": str(_DAY_MS)}
_TABLE = {"cleanup.policy": "compact", "segment.bytes": str(32 << 20)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """What a topic must be. ``partitions`` None means one for each of the agents' partitions;
    ``checked`` are the settings without which a promise breaks.
    """

    name: str
    partitions: int | None = None
    settings: dict[str, str] = field(default_factory=dict)
    checked: tuple[str, ...] = ()


EVENTS = TopicSpec(
    name="events",
    settings={"cleanup.policy": "delete", **_FOREVER, **_MESSAGE_BYTES},
    checked=("cleanup.policy", "retention.ms", "retention.bytes"),
)
SNAPSHOTS = TopicSpec(name="snapshots", settings=_COMPACTED, checked=("cleanup.policy",))
INDEX = TopicSpec(name="index", settings=_COMPACTED, checked=("cleanup.policy",))
CHECKPOINTS = TopicSpec(name="checkpoints", settings=_COMPACTED, checked=("cleanup.policy",))
HEARTBEATS = TopicSpec(
    name="heartbeats",
    partitions=4,
    settings={"cleanup.policy": "delete", "retention.ms": "3600000"},
    checked=("cleanup.policy",),
)
DEAD_LETTERS = TopicSpec(
    name="dead-letters",
    partitions=1,
    settings={"cleanup.policy": "delete", **_FOREVER, "max.message.bytes": "1200000"},
    checked=("cleanup.policy", "retention.ms"),
)
COMMITS = TopicSpec(name="commits", partitions=1, settings=_DAILY, checked=("cleanup.policy",))
LAYOUT = TopicSpec(
    name="layout",
    partitions=1,
    settings={"cleanup.policy": "delete", **_FOREVER},
    checked=("cleanup.policy", "retention.ms"),
)
ALL = (LAYOUT, EVENTS, SNAPSHOTS, INDEX, CHECKPOINTS, HEARTBEATS, DEAD_LETTERS, COMMITS)

RECOVERY = TopicSpec(
    name="recovery",
    partitions=4,
    settings={"cleanup.policy": "compact,delete", "retention.ms": str(30 * _DAY_MS)},
    checked=("cleanup.policy",),
)
OUTCOMES = TopicSpec(name="outcomes", partitions=4, settings=_TABLE, checked=("cleanup.policy",))
COMMANDS = TopicSpec(name="commands", partitions=4, settings=_DAILY, checked=("cleanup.policy",))
REPLIES = TopicSpec(name="replies", partitions=4, settings=_DAILY, checked=("cleanup.policy",))
METRICS = TopicSpec(name="metrics", partitions=4, settings=_DAILY, checked=("cleanup.policy",))
ROUTES = TopicSpec(name="routes", partitions=4, settings=_TABLE, checked=("cleanup.policy",))
ESCALATIONS = TopicSpec(
    name="escalations", partitions=1, settings=_TABLE, checked=("cleanup.policy",)
)
AUDIT = TopicSpec(
    name="audit",
    # One, so that what happened can be read back in the order in which it did.
    partitions=1,
    settings={"cleanup.policy": "delete", **_FOREVER},
    checked=("cleanup.policy", "retention.ms"),
)
# What insights has read and not yet folded, and what it has folded so far (a table of Faust's).
SAMPLES = TopicSpec(
    name="samples",
    partitions=1,
    settings={"cleanup.policy": "delete", "retention.ms": "3600000"},
    checked=("cleanup.policy",),
)
SOURCES = TopicSpec(
    name="insights-sources-changelog",
    partitions=1,
    # Read from its beginning at each start, so little may lie there that is superseded.
    settings={
        "cleanup.policy": "compact",
        "segment.ms": "60000",
        "segment.bytes": str(8 << 20),
        "min.cleanable.dirty.ratio": "0.1",
    },
    checked=("cleanup.policy",),
)
FLEET = (
    *(RECOVERY, OUTCOMES, COMMANDS, REPLIES, METRICS, ROUTES, ESCALATIONS, AUDIT),
    *(SAMPLES, SOURCES),
)
"""What nodes, detectors and strategies need beside :data:`ALL`."""


def connect_topics(config: Config) -> int:
    """Make the topics that are missing (if ``config.create_topics``) and check them all.

    Returns the number of partitions over which agents are spread. Raises
    :class:`TopicMismatch` for a topic that is missing or not as it must be.
    """
    return _connect(config, ALL)


def connect_fleet(config: Config) -> int:
    """:func:`connect_topics`, and the topics of the fleet as well."""
    return _connect(config, ALL + FLEET)


def _connect(config: Config, specs: tuple[TopicSpec, ...]) -> int:
    admin = clients.admin(config)
    existing = _partition_counts(admin, config)
    missing = [spec for spec in specs if config.topic(spec.name) not in existing]
    if missing and not config.create_topics:
        names = ", ".join(config.topic(spec.name) for spec in missing)
        raise TopicMismatch(
            f"missing topics: {names}; make them with `headwater doctor --fix`, "
            "or allow it with HEADWATER_CREATE_TOPICS=true"
        )
    if missing:
        # Not asked again: another broker may not have heard of the new topics yet.
        existing |= _create(admin, config, missing)
    partitions = _layout(config, existing)
    problems = _problems(admin, config, existing, partitions, specs)
    if problems:
        raise TopicMismatch("; ".join(problems))
    return partitions


def find_problems(config: Config) -> list[str]:
    """What is wrong with the topics, a sentence each; empty when all is well. Makes nothing."""
    admin = clients.admin(config)
    existing = _partition_counts(admin, config)
    missing = [config.topic(s.name) for s in ALL if config.topic(s.name) not in existing]
    if missing:
        return [f"topic {name} is missing" for name in missing]
    specs = ALL + tuple(s for s in FLEET if config.topic(s.name) in existing)
    return _problems(admin, config, existing, _layout(config, existing), specs)


def _metadata(admin: AdminClient, config: Config) -> ClusterMetadata:
    with mapped(f"asking {config.bootstrap_servers} for its topics"):
        return admin.list_topics(timeout=config.read_timeout.total_seconds())


def _partition_counts(admin: AdminClient, config: Config) -> dict[str, int]:
    return _count(_metadata(admin, config), config)


def _count(metadata: ClusterMetadata, config: Config) -> dict[str, int]:
    topics = metadata.topics
    return {name: len(t.partitions) for name, t in topics.items() if name.startswith(config.prefix)}


def _create(admin: AdminClient, config: Config, specs: Iterable[TopicSpec]) -> dict[str, int]:
    """Make topics, and wait until all have leaders; the partitions of each."""
    brokers = len(_metadata(admin, config).brokers)
    replication = config.replication or min(3, brokers)
    min_isr = str(max(1, replication - 1))
    agents = config.partitions or DEFAULT_PARTITIONS
    wanted = [
        NewTopic(
            config.topic(spec.name),
            num_partitions=spec.partitions or agents,
            replication_factor=replication,
            config={**spec.settings, "min.insync.replicas": min_isr},
        )
        for spec in specs
    ]

    def create() -> None:
        for name, future in admin.create_topics(wanted, request_timeout=_ASK_S).items():
            _created(name, future)

    _insist(admin, config, create)
    return _await_leaders(admin, config, specs)


def _created(name: str, future: Future[None]) -> None:
    try:
        future.result()
    except KafkaException as error:
        # Somebody else connected for the first time at the same moment.
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise to_headwater(error.args[0], f"making topic {name}") from error


def _insist(admin: AdminClient, config: Config, call: Callable[[], T]) -> T:
    """What ``call`` returns, made again while the brokers are without a controller."""
    deadline = time.monotonic() + config.read_timeout.total_seconds()
    while True:
        try:
            return call()
        except RetryableError:
            if time.monotonic() > deadline:
                raise
        # The client waits for the controller that it knows of; the metadata name the new one.
        _metadata(admin, config)


def _await_leaders(
    admin: AdminClient, config: Config, specs: Iterable[TopicSpec]
) -> dict[str, int]:
    deadline = time.monotonic() + config.read_timeout.total_seconds()
    wanted = {config.topic(spec.name) for spec in specs}
    while True:
        metadata = _metadata(admin, config)
        topics = metadata.topics
        leaders = [
            p.leader for name in wanted & set(topics) for p in topics[name].partitions.values()
        ]
        if wanted <= set(topics) and leaders and min(leaders) >= 0:
            return _count(metadata, config)
        if time.monotonic() > deadline:
            raise Unavailable("new topics have no leaders yet; try again")
        time.sleep(0.02)


def _layout(config: Config, existing: dict[str, int]) -> int:
    recorded = _read_layout(config)
    if recorded is None:
        _write_layout(config, config.partitions or existing[config.topic("events")])
        recorded = _read_layout(config)
    if recorded is None:
        raise Unavailable("the layout that was just written cannot be read yet; try again")
    if config.partitions not in (None, recorded):
        raise TopicMismatch(
            f"agents are spread over {recorded} partitions, as recorded when the topics were made; "
            f"the configuration says {config.partitions}: leave it out, or set {recorded}"
        )
    return recorded


def _read_layout(config: Config) -> int | None:
    reader = Reader(config, clients.POINT_READS)
    try:
        for batch in reader.scan(config.topic("layout"), 0, None):
            for message in batch:
                # The first record counts: whoever lost a race to write it follows the winner.
                return int(codec("Layout").decode(message.value() or b"")["partitions"])
        return None
    finally:
        reader.close()


def _write_layout(config: Config, partitions: int) -> None:
    record = {"partitions": partitions, "created_at": time.time_ns() // 1_000_000}
    send(clients.producer(config), config, "layout", codec("Layout").encode(record))


def send(producer: Producer, config: Config, topic: str, value: bytes) -> None:
    """Produce one record to partition 0 of a topic and wait until it is acknowledged."""
    errors: list[KafkaError | None] = []
    producer.produce(
        config.topic(topic), value, partition=0, on_delivery=lambda error, _: errors.append(error)
    )
    producer.flush(config.send_timeout.total_seconds())
    if not errors:
        raise Unavailable(f"{config.topic(topic)}: no acknowledgement in {config.send_timeout}")
    if errors[0] is not None:
        raise to_headwater(errors[0], f"writing to {config.topic(topic)}")


def _problems(
    admin: AdminClient,
    config: Config,
    existing: dict[str, int],
    partitions: int,
    specs: tuple[TopicSpec, ...],
) -> list[str]:
    problems = []
    for spec in specs:
        name = config.topic(spec.name)
        needed = spec.partitions or partitions
        if existing[name] < needed:
            problems.append(f"topic {name} has {existing[name]} partitions and needs {needed}")
    resources = [ConfigResource(ResourceType.TOPIC, config.topic(spec.name)) for spec in specs]

    def describe() -> list[dict[str, ConfigEntry]]:
        described = admin.describe_configs(resources, request_timeout=_ASK_S)
        with mapped("reading the topics' settings"):
            return [described[resource].result() for resource in resources]

    described = _insist(admin, config, describe)
    for spec, resource, settings in zip(specs, resources, described, strict=True):
        problems += [
            f"topic {resource.name} has {key}={settings[key].value} and needs {spec.settings[key]}"
            for key in spec.checked
            if settings[key].value != spec.settings[key]
        ]
    return problems
