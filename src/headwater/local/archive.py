"""Class archives: what makes a broker start in 0.8 s instead of 2.

A training run, once for each combination of Java and jars, lets the JVM write down what it loaded
and linked: an AOT cache (JEP 514) on Java 25 and newer, a dynamic class-data archive (JEP 350)
before that. A JVM that finds an archive unfit for its class path, in order and modification times,
silently does without, so all of that is part of the archive's name, and a change makes a new one.
No archive is needed: whatever goes wrong here only makes starts slower.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from headwater.errors import LocalKafkaError
from headwater.local.jars import Distribution
from headwater.local.java import Java
from headwater.local.layout import write_node
from headwater.local.lock import file_lock
from headwater.local.ports import choose_nodes
from headwater.local.probe import live_brokers
from headwater.local.process import Child, Watchdog, spawn
from headwater.local.progress import Progress

logger = logging.getLogger(__name__)

_AOT_SINCE = 25
_TRAINING_S = 120.0

#: A heap of any size may use the archive, another garbage collector may not.
_JVM_FLAGS = (
    "-Xms64m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    # C2 would cost 0.8 s of CPU while it starts and over 1 s in the first 200,000 records, and
    # gains nothing measurable after that: a broker's work is mostly the kernel's.
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Xlog:disable",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
    # A warning for each attempt to reach a dead broker, twenty a second.
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.clients.NetworkClient=error",
)


def broker_command(
    java: Java, kafka: Distribution, properties: Path, *, heap_mb: int, archive: Path | None
) -> list[str]:
    """The command line of a broker."""
    use = "-XX:AOTCache=" if java.major >= _AOT_SINCE else "-XX:SharedArchiveFile="
    extra = [f"{use}{archive}"] if archive else []
    return _command(java, kafka, properties, [f"-Xmx{heap_mb}m", *extra])


def broker_environment() -> Mapping[str, str]:
    """Our environment without what would slip flags into every JVM, and spoil the archive."""
    hidden = {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"}
    return {name: value for name, value in os.environ.items() if name not in hidden}


def _command(java: Java, kafka: Distribution, properties: Path, extra: list[str]) -> list[str]:
    flags = [*_JVM_FLAGS, *extra]
    return [str(java.path), *flags, "-cp", kafka.classpath, "kafka.Kafka", str(properties)]


def ensure_archive(java: Java, kafka: Distribution) -> Path | None:
    """The archive for this Java and these jars, trained first where there is none yet (10-20 s).

    None where it cannot be had, which is tried once, or ``HEADWATER_KAFKA_ARCHIVE=0`` says so.
    """
    if os.environ.get("HEADWATER_KAFKA_ARCHIVE") == "0":
        return None
    archive = kafka.root / f"classes-{_key(java, kafka)}"
    if archive.exists():
        return archive
    failed = archive.with_suffix(".failed")
    try:
        with file_lock(kafka.root / "archive.lock", what="preparing Kafka", timeout_s=300):
            if not archive.exists() and not failed.exists():
                _train(java, kafka, archive, failed)
    except (OSError, LocalKafkaError) as error:
        logger.debug("kafka_archive_unavailable", extra={"reason": str(error)})
    return archive if archive.exists() else None


def _key(java: Java, kafka: Distribution) -> str:
    parts = [java.version, *_JVM_FLAGS]
    # What the runtime is, not where: each environment has its own copy; one archive serves all.
    home = java.path.resolve().parent.parent
    for name in ("release", "lib/modules", "lib/server/libjvm.so", "lib/server/libjvm.dylib"):
        file = home / name
        parts.append(f"{name} {file.stat().st_size if file.exists() else 0}")
    for jar in kafka.jars:
        status = jar.stat()
        parts.append(f"{jar} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _train(java: Java, kafka: Distribution, archive: Path, failed: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="headwater-kafka-training-"))
    partial = scratch / "classes"
    watchdog = Watchdog(scratch)
    try:
        with Progress("Preparing quick starts of Kafka"):
            broker = _run(java, kafka, scratch, partial, watchdog.group)
            if partial.exists():
                # Across file systems, so not a rename; and whole before it has its name.
                copied = archive.with_suffix(f".{os.getpid()}")
                copied.write_bytes(partial.read_bytes())
                copied.replace(archive)
            elif broker.exit_status is not None:  # not merely slow: it would fail again
                failed.write_text(f"exit status {broker.exit_status}\n", encoding="utf-8")
    finally:
        watchdog.end()


def _run(java: Java, kafka: Distribution, scratch: Path, archive: Path, group: int) -> Child:
    (node,) = choose_nodes(1)
    properties = write_node(scratch, node, [node], cluster_id="headwater-training-run", extra={})
    option = "-XX:AOTCacheOutput=" if java.major >= _AOT_SINCE else "-XX:ArchiveClassesAtExit="
    broker = spawn(
        _command(java, kafka, properties, ["-Xmx512m", f"{option}{archive}"]),
        scratch / "training.log",
        environment=broker_environment(),
        group=group,
    )
    deadline = time.monotonic() + _TRAINING_S
    while not live_brokers(node.port):
        if broker.exit_status is not None or time.monotonic() > deadline:
            return broker
        time.sleep(0.05)
    _exercise(f"127.0.0.1:{node.port}")
    broker.identity.signal(15)
    while broker.exit_status is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return broker


def _exercise(bootstrap_servers: str) -> None:
    """Uses the broker as Headwater will, so that the archive holds those classes too."""
    from confluent_kafka import Consumer, KafkaException, Producer
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    # Nothing that librdkafka might remark on here is of interest to anybody.
    address: dict[str, str | int | float | bool] = {
        "bootstrap.servers": bootstrap_servers,
        "log_level": 0,
    }
    try:
        admin = AdminClient(address)
        for made in admin.create_topics([NewTopic("training", 1, 1)]).values():
            made.result(10)
        producer = Producer({**address, "transactional.id": "training", "compression.type": "lz4"})
        producer.init_transactions(10)
        producer.begin_transaction()
        producer.produce("training", b"value", b"key")
        producer.commit_transaction(10)
        consumer = Consumer(
            {
                **address,
                "group.id": "training",
                "group.protocol": "consumer",
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe(["training"])
        consumer.consume(1, 10)
        consumer.commit(asynchronous=False)
        consumer.close()
    except KafkaException as error:
        logger.debug("kafka_training_incomplete", extra={"reason": str(error)})
