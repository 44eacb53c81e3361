"""Which implementation a URL means."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from headwater.config import Config
from headwater.errors import ConfigError
from headwater.tiers.memory import MemoryStore
from headwater.tiers.store import Store
from headwater.tiers.tier import Tier

# One letter and a colon would be a drive of Windows.
_SCHEME = re.compile(r"([a-z][a-z0-9]+)(\+[a-z0-9]+)?:", re.IGNORECASE)
_DATABASES = frozenset({"mariadb", "mssql", "mysql", "oracle", "postgresql", "sqlite"})


def open_tier(url: str | os.PathLike[str], config: Config | None = None) -> Tier:
    """The storage tier at an address; close it, or use it in a ``with`` statement.

    ========================================  ====================================================
    ``memory:NAME``                           shared in the process; without a name, not
    a path, ``file:///path``                  a local directory, made if need be
    ``s3://bucket/path`` and the like         whatever fsspec knows, with that system's own package
    ``sqlite:///path``                        a file with a database
    ``postgresql://user:password@host/name``  a database; any that SQLAlchemy knows, by its URL
    ``kafka:NAME``                            two topics in ``config``'s cluster, under its prefix
    ``kafka://host:port/NAME``                two topics of another cluster
    ========================================  ====================================================

    ``config`` is for Kafka alone: for ``kafka:NAME`` it is read from the environment where it is
    None, for ``kafka://`` it gives credentials and time limits. A database takes ``?table=NAME``,
    Kafka ``?partitions=N`` for topics that are yet to be made (6).
    Raises :class:`ConfigError` for an address that cannot be used, or where a package is missing.
    """
    text = os.fspath(url)
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else "file"
    if scheme == "memory":
        return Tier(MemoryStore(text.partition(":")[2].strip("/")))
    if scheme == "kafka":
        return Tier(_kafka(text, config))
    if scheme in _DATABASES:
        return Tier(_database(text))
    return Tier(_files(text))


def _files(url: str) -> Store:
    try:
        from headwater.tiers.files import open_files
    except ModuleNotFoundError as error:
        raise _missing(error, "tiers") from error
    return open_files(url)


def _database(url: str) -> Store:
    try:
        from headwater.tiers.database import DatabaseStore
    except ModuleNotFoundError as error:
        raise _missing(error, "tiers") from error
    return DatabaseStore(url)


def _kafka(url: str, config: Config | None) -> Store:
    from headwater.tiers.kafka import KafkaStore

    parts = urlsplit(url)
    name = parts.path.strip("/")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", name):
        raise ConfigError(
            f"{url}: name the tier with letters, digits, '.', '_' and '-': "
            "kafka:NAME, or kafka://host:port/NAME"
        )
    partitions = _partitions(parts.query)
    if not parts.netloc:
        config = config or Config.load()
        return KafkaStore(config, config.topic(name), partitions)
    if "@" in parts.netloc:
        raise ConfigError("credentials of Kafka belong into the configuration, not into the URL")
    if config is None:
        config = Config(bootstrap_servers=parts.netloc)
    return KafkaStore(config.with_(bootstrap_servers=parts.netloc), name, partitions)


def _partitions(query: str) -> int | None:
    if not query:
        return None
    found = re.fullmatch(r"partitions=([1-9][0-9]{0,3})", query)
    if found is None:
        raise ConfigError(f"a Kafka tier takes partitions=NUMBER and nothing else, not {query!r}")
    return int(found[1])


def _missing(error: ModuleNotFoundError, extra: str) -> ConfigError:
    return ConfigError(f"the package {error.name} is missing: pip install 'headwater[{extra}]'")
