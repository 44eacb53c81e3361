"""The cluster to work with: the one that the environment names, else a local one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headwater.local import paths
from headwater.local.cluster import LocalKafka
from headwater.local.settings import SIZES

VARIABLE = "HEADWATER_BOOTSTRAP_SERVERS"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingKafka:
    """A cluster that is not ours: its address, and None where a local one has its fault methods."""

    bootstrap_servers: str
    kill: None = None
    start_node: None = None
    pause: None = None
    resume: None = None
    pid: None = None


@contextmanager
def kafka_or_existing(
    brokers: int = 1,
    *,
    data_dir: Path | str | None = None,
    properties: Mapping[str, str] | None = None,
) -> Iterator[LocalKafka | ExistingKafka]:
    """The cluster of ``HEADWATER_BOOTSTRAP_SERVERS``, else a local one that ends with the block.

    Whether the existing one can be reached is for whoever connects to find out. Arguments are those
    of :class:`LocalKafka`, and matter to a local one only.
    """
    if address := os.environ.get(VARIABLE, "").strip():
        yield ExistingKafka(bootstrap_servers=address)
        return
    with LocalKafka(brokers, data_dir=data_dir, properties=properties) as kafka:
        yield kafka


def running_bootstrap_servers() -> str | None:
    """The address of the user's own local Kafka, where one runs on its default data directory."""
    for size in SIZES:
        found = LocalKafka.find(paths.data_dir(size))
        if found is not None and found.status.running:
            return found.bootstrap_servers
    return None
