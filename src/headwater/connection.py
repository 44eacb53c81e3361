"""``headwater.connect()``: one call for ``with`` and for ``async with``."""

from __future__ import annotations

import asyncio
from typing import Any

from headwater.aio import AsyncClient
from headwater.client import Client
from headwater.config import Config
from headwater.migrations import Migrations


class Connection:
    """A connection to be: entered by ``with`` it is a :class:`Client`, by ``async with`` an
    :class:`AsyncClient`.
    """

    def __init__(
        self, config: Config, follow_index: bool, migrations: Migrations | None = None
    ) -> None:
        self._config = config
        self._migrations = migrations
        self._follow_index = follow_index
        self._client: Client | None = None

    def open(self) -> Client:
        """Connect now; end it with ``close()``."""
        return Client(self._config, follow_index=self._follow_index, migrations=self._migrations)

    def __enter__(self) -> Client:
        self._client = self.open()
        return self._client

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()

    async def __aenter__(self) -> AsyncClient:
        self._client = await asyncio.to_thread(self.open)
        return AsyncClient(self._client)

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await asyncio.to_thread(self._client.close)


def connect(
    config: Config | None = None,
    *,
    follow_index: bool = False,
    migrations: Migrations | None = None,
    **settings: Any,
) -> Connection:
    """A connection to Headwater's Kafka.

    Without ``config`` it is read from environment and file, see :meth:`Config.load`;
    ``settings`` override it. ``follow_index`` keeps the index in memory (about 600 bytes an
    agent), so that recoveries find their snapshots at once.
    ``migrations`` upgrades states that older code wrote; :class:`ConfigError` where a step of it
    is missing.
    """
    if migrations is not None:
        migrations.check()
    if config is None:
        config = Config.load(**settings)
    elif settings:
        config = config.with_(**settings)
    return Connection(config, follow_index, migrations)
