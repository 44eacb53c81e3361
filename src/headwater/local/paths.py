"""Where Headwater keeps what it can fetch again (cache) and what it cannot (data), per user."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """Jars and class archives; may be deleted at any time while no broker runs.

    ``$XDG_CACHE_HOME/headwater``, else ``~/Library/Caches/headwater`` on macOS and
    ``~/.cache/headwater`` elsewhere.
    """
    return _base("XDG_CACHE_HOME", "Library/Caches", ".cache") / "headwater"


def data_dir(brokers: int) -> Path:
    """The default data directory of the local cluster with this many brokers.

    ``$XDG_DATA_HOME/headwater/kafka-N``, else under ``~/Library/Application Support`` on macOS and
    ``~/.local/share`` elsewhere. One directory for each size, since a cluster cannot change it.
    """
    base = _base("XDG_DATA_HOME", "Library/Application Support", ".local/share")
    return base / "headwater" / f"kafka-{brokers}"


def _base(variable: str, mac: str, other: str) -> Path:
    configured = Path(os.environ.get(variable, ""))
    if configured.is_absolute():  # the XDG specification says to ignore relative paths
        return configured
    return Path.home() / (mac if sys.platform == "darwin" else other)
