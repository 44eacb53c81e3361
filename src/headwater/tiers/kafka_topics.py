"""The two topics of a tier: made if need be, and checked."""

from __future__ import annotations

from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from headwater.config import Config
from headwater.errors import TopicMismatch
from headwater.kafka import clients
from headwater.kafka.errors import mapped, to_headwater

DEFAULT_PARTITIONS = 6
_SETTINGS = {
    "cleanup.policy": "compact",
    # Whoever has just read a manifest must still find its chunks.
    "min.compaction.lag.ms": "600000",
    "max.message.bytes": "1048588",
    "segment.bytes": str(32 << 20),
}


def make_topics(config: Config, manifests: str, chunks: str, partitions: int | None) -> int:
    """Make what is missing of the two topics; the number of partitions of the chunks.

    Raises :class:`TopicMismatch` where one is missing and may not be made, or is not compacted.
    """
    admin = clients.admin(config)
    existing = _existing(admin, config, (manifests, chunks))
    wanted = {manifests: 1, chunks: partitions or DEFAULT_PARTITIONS}
    missing = {name: count for name, count in wanted.items() if name not in existing}
    if missing and not config.create_topics:
        raise TopicMismatch(
            f"missing topics: {', '.join(missing)}; make them compacted, "
            "or allow it with HEADWATER_CREATE_TOPICS=true"
        )
    if missing:
        _create(admin, config, missing)
    _check(admin, config, list(existing))
    # Not every broker has heard of new topics; somebody else may have made them in another size.
    return (existing | _existing(admin, config, (chunks,))).get(chunks, wanted[chunks])


def _existing(admin: AdminClient, config: Config, names: tuple[str, ...]) -> dict[str, int]:
    with mapped(f"asking {config.bootstrap_servers} for its topics"):
        topics = admin.list_topics(timeout=config.read_timeout.total_seconds()).topics
    return {name: len(topics[name].partitions) for name in names if name in topics}


def _create(admin: AdminClient, config: Config, wanted: dict[str, int]) -> None:
    timeout_s = config.read_timeout.total_seconds()
    with mapped(f"asking {config.bootstrap_servers} for its brokers"):
        brokers = len(admin.list_topics(timeout=timeout_s).brokers)
    replication = config.replication or min(3, brokers)
    settings = {**_SETTINGS, "min.insync.replicas": str(max(1, replication - 1))}
    topics = [
        NewTopic(name, num_partitions=count, replication_factor=replication, config=settings)
        for name, count in wanted.items()
    ]
    made: dict[str, Future[None]] = admin.create_topics(topics, request_timeout=timeout_s)
    for name, future in made.items():
        try:
            future.result()
        except KafkaException as error:
            # Somebody else opened the tier for the first time at the same moment.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise to_headwater(error.args[0], f"making topic {name}") from error


def _check(admin: AdminClient, config: Config, names: list[str]) -> None:
    """Topics that others have made must keep the newest record of each key."""
    if not names:
        return
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    with mapped("reading the topics' settings"):
        timeout_s = config.read_timeout.total_seconds()
        described = admin.describe_configs(resources, request_timeout=timeout_s)
        settings = {resource.name: future.result() for resource, future in described.items()}
    for name, entries in settings.items():
        if entries["cleanup.policy"].value != "compact":
            raise TopicMismatch(
                f"topic {name} has cleanup.policy={entries['cleanup.policy'].value} and needs "
                "compact, or it would lose values"
            )
