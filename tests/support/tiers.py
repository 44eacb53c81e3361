"""What tests of tiers need: places to open them at, keys, and a process that saves until killed."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg
from hypothesis import strategies as st

from headwater import Config
from headwater.tiers import Tier, open_tier
from headwater.tiers.kafka import KafkaStore
from headwater.tiers.keys import path_of
from headwater.tiers.memory import MemoryStore

_SEGMENTS = st.text(
    st.one_of(
        st.sampled_from("aAbé.~%_-= :\\*?\U0001f600"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0/"),
    ),
    min_size=1,
    max_size=20,
).filter(lambda segment: segment not in {".", ".."})

KEYS = st.one_of(
    st.lists(_SEGMENTS, min_size=1, max_size=4).map("/".join),
    st.sampled_from([".value", "a.value", "..." * 100, "É" * 250, "a.b" * 150, ".partial", "~"]),
)
"""Keys as strange as they may be."""

HOSTILE_KEYS = [
    *("", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\0b", "\ud800"),
    *("x" * 513, "é" * 257),
]
"""Texts that are no keys."""


def large_value(number: int) -> bytes:
    """Value ``number`` of a series, told from every other by each of its parts; 2 or 3 MB."""
    return number.to_bytes(8, "big") * (250_000 + number % 2 * 125_000)


def save_for_ever(url: str, config: Config | None, key: str, said: Connection, start: int) -> None:
    """Save one large value after the other, and say the number of each once it is saved."""
    with open_tier(url, config) as tier:
        for number in count(start):
            tier.save(key, large_value(number))
            said.send(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A tier's address; ``raw`` and ``overwrite`` go below the tier, to its own storage."""

    kind: str
    url: str
    config: Config | None = None

    def open(self) -> Tier:
        """A tier there."""
        return open_tier(self.url, self.config)

    def raw(self, key: str) -> bytes:
        """What is stored for a key, as it lies there."""
        if self.kind == "file":
            return Path(self.url, path_of(key)).read_bytes()
        if self.kind == "sqlite":
            with sqlite3.connect(self.url.removeprefix("sqlite:///")) as database:
                row = database.execute(f"select value from {_TABLE} where key=?", (key,)).fetchone()
        elif self.kind == "postgres":
            with psycopg.connect(self.url) as server:
                found = server.execute(f"select value from {_TABLE} where key=%s".encode(), (key,))
                row = found.fetchone()
        else:
            return self._store().get(key) or b""
        assert row is not None
        return bytes(row[0])

    def overwrite(self, key: str, stored: bytes) -> None:
        """Put something else there."""
        if self.kind == "file":
            Path(self.url, path_of(key)).write_bytes(stored)
        elif self.kind == "sqlite":
            with sqlite3.connect(self.url.removeprefix("sqlite:///")) as database:
                database.execute(f"update {_TABLE} set value=? where key=?", (stored, key))
        elif self.kind == "postgres":
            with psycopg.connect(self.url) as server:
                change = f"update {_TABLE} set value=%s where key=%s"
                server.execute(change.encode(), (stored, key))
        else:
            self._store().put(key, stored)

    def _store(self) -> MemoryStore | KafkaStore:
        # Records of a log cannot be changed: other bytes come as new ones.
        if self.config is None:
            return MemoryStore(self.url.partition(":")[2])
        return KafkaStore(self.config, self.config.topic(self.url.partition(":")[2]))


_TABLE = "headwater_values"
