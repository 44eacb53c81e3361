"""One frozen configuration for a process, read from environment and file at the edge."""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from headwater.errors import ConfigError

_ENV = "HEADWATER_"
_KAFKA_ENV = "HEADWATER_KAFKA_"
# Secrets are shown neither in logs nor in repr.
_SECRET_WORDS = ("password", "secret", "token", "key.pem", "oauthbearer.config")

_PASSWORD = re.compile(r"(?<=://)([^/@:]*):.*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How often a process says that it lives, and for how long that counts."""

    heartbeat: timedelta
    lease: timedelta

    @property
    def lease_ms(self) -> int:
        """The lease in milliseconds."""
        return round(self.lease.total_seconds() * 1000)


PROFILES: Mapping[str, Profile] = {
    "default": Profile(heartbeat=timedelta(seconds=1), lease=timedelta(seconds=3)),
    "fast": Profile(heartbeat=timedelta(milliseconds=200), lease=timedelta(milliseconds=600)),
}


def _default_node_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of one process.

    ``kafka`` holds librdkafka properties (``security.protocol``, ``sasl.username`` ...), which
    pass through untouched to every client and win over Headwater's own. ``partitions`` and
    ``replication`` matter when topics are made; None means 12, and as many replicas as there are
    brokers up to 3. ``send_timeout`` bounds how long a change may stay unacknowledged,
    ``max_in_flight_bytes`` how much may wait for the brokers. ``snapshot_cache_bytes`` of snapshots
    that were read are kept for those who look into an agent's past again and again. ``backup`` and
    ``replica`` are addresses of storage tiers, where a recovery looks for what the cluster itself
    does not prove.
    """

    bootstrap_servers: str
    prefix: str = "headwater."
    profile: str = "default"
    node_id: str = field(default_factory=_default_node_id)
    partitions: int | None = None
    replication: int | None = None
    create_topics: bool = True
    send_timeout: timedelta = timedelta(seconds=30)
    read_timeout: timedelta = timedelta(seconds=30)
    max_in_flight_bytes: int = 64 << 20
    max_state_bytes: int = 64 << 20
    max_change_bytes: int = 900_000
    snapshot_cache_bytes: int = 0
    backup: str | None = None
    replica: str | None = None
    kafka: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.bootstrap_servers:
            raise ConfigError("bootstrap_servers is empty; name at least one broker as host:port")
        if self.profile not in PROFILES:
            raise ConfigError(f"profile {self.profile!r} is none of {', '.join(PROFILES)}")
        if self.partitions is not None and self.partitions < 1:
            raise ConfigError(f"partitions must be at least 1, not {self.partitions}")
        for name in ("max_in_flight_bytes", "max_state_bytes", "max_change_bytes"):
            if getattr(self, name) < 1024:
                raise ConfigError(f"{name} must be at least 1024, not {getattr(self, name)}")
        if self.snapshot_cache_bytes < 0:
            raise ConfigError(f"snapshot_cache_bytes is below 0: {self.snapshot_cache_bytes}")
        for name in ("send_timeout", "read_timeout"):
            if getattr(self, name) <= timedelta(0):
                raise ConfigError(f"{name} must be positive, not {getattr(self, name)}")

    def __repr__(self) -> str:
        shown = {f.name: getattr(self, f.name) for f in fields(self)}
        shown["kafka"] = {
            k: "***" if any(word in k for word in _SECRET_WORDS) else v
            for k, v in self.kafka.items()
        }
        for name in ("backup", "replica"):
            shown[name] = _PASSWORD.sub(r"\1:***@", shown[name]) if shown[name] else None
        return f"Config({', '.join(f'{k}={v!r}' for k, v in shown.items())})"

    @property
    def timing(self) -> Profile:
        """Heartbeat and lease of the chosen profile."""
        return PROFILES[self.profile]

    def topic(self, name: str) -> str:
        """The full name of one of Headwater's topics."""
        return self.prefix + name

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **settings: Any) -> Config:
        """Settings from the file that ``HEADWATER_CONFIG`` names (TOML), overridden by
        ``HEADWATER_<SETTING>`` variables, overridden by ``settings`` that are not None.

        librdkafka properties come from the file's ``[kafka]`` table, and from variables such as
        ``HEADWATER_KAFKA_SECURITY_PROTOCOL`` for ``security.protocol``. Where nothing names a
        broker, a local Kafka started by ``headwater kafka start`` is used.
        """
        environ = os.environ if environ is None else environ
        given = {k: v for k, v in settings.items() if v is not None}
        layers = [_from_file(environ.get(f"{_ENV}CONFIG")), _from_environment(environ), given]
        kafka = {k: v for layer in layers for k, v in layer.pop("kafka", {}).items()}
        merged = {k: v for layer in layers for k, v in layer.items()}
        merged.setdefault("bootstrap_servers", _running_local_kafka() or "")
        if not merged["bootstrap_servers"]:
            raise ConfigError(
                "no Kafka is named: set HEADWATER_BOOTSTRAP_SERVERS=host:port, "
                "or start a local one with `headwater kafka start`"
            )
        return cls(kafka=kafka, **merged)

    def with_(self, **settings: Any) -> Config:
        """A copy with other settings."""
        return replace(self, **settings)


def _running_local_kafka() -> str | None:
    from headwater.local import SIZES, LocalKafka, data_dir

    for size in SIZES:
        kafka = LocalKafka.find(data_dir(size))
        if kafka is not None and kafka.status.running:
            return kafka.bootstrap_servers
    return None


def _from_file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error}") from error
    kafka = table.pop("kafka", {})
    unknown = set(table) - {f.name for f in fields(Config)}
    if unknown:
        raise ConfigError(f"{path}: unknown settings {', '.join(sorted(unknown))}")
    return {k: _convert(k, v) for k, v in table.items()} | {"kafka": kafka}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for setting in fields(Config):
        text = environ.get(_ENV + setting.name.upper())
        if text is not None and setting.name != "kafka":
            found[setting.name] = _convert(setting.name, text)
    kafka = {
        name.removeprefix(_KAFKA_ENV).lower().replace("_", "."): value
        for name, value in environ.items()
        if name.startswith(_KAFKA_ENV)
    }
    return found | {"kafka": kafka} if kafka else found


_DURATIONS = frozenset({"send_timeout", "read_timeout"})
_COUNTS = frozenset(
    {
        "partitions",
        "replication",
        "max_in_flight_bytes",
        "max_state_bytes",
        "max_change_bytes",
        "snapshot_cache_bytes",
    }
)


def _convert(name: str, value: Any) -> Any:
    try:
        if name in _DURATIONS:
            return timedelta(seconds=float(value))
        if name in _COUNTS:
            return int(value)
        if name == "create_topics":
            return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{name}: cannot use {value!r}") from error
    return value
