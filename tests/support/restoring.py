"""What tests of the backup do again and again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from click.testing import CliRunner

import headwater
from consumers.backup import Backup, BackupStats, run_once
from headwater import Client, Config
from headwater.backup import Archive
from headwater.backup.restore import Restored, plan_restore, restore
from headwater.cli import cli
from headwater.tiers import open_tier
from tests.support.processes import environment


def hashes(hw: Client) -> dict[str, tuple[bytes, bytes, int]]:
    """Chain hash, state hash and version of every agent."""
    found = {}
    for each in hw.recover_many():
        assert not isinstance(each, headwater.Failed), each
        found[each.agent_id] = each.head.hash, each.state_hash, each.version
    return found


def restored(config: Config, url: str, **options: Any) -> Restored:
    """What a restore from there into an empty prefix gave."""
    with open_tier(url) as tier:
        archive = Archive(tier, cache_bytes=1 << 28)
        return restore(archive, config, plan_restore(archive), **options)


def once(config: Config, url: str, **options: Any) -> int:
    """One pass; the records that it copied."""
    with open_tier(url) as tier:
        return sum(c.records for c in run_once(config, tier, **options).values())


def command(config: Config, *arguments: str) -> Any:
    """What a command says in JSON; it must end well."""
    found = CliRunner().invoke(cli, [*arguments, "--json"], env=environment(config))
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@contextmanager
def backing_up(config: Config, url: str) -> Iterator[Callable[[], BackupStats]]:
    """A backup in a thread of this process; yields its stats."""
    stop = threading.Event()
    with open_tier(url) as tier:
        backup = Backup(config, tier, interval=timedelta(milliseconds=200))
        thread = threading.Thread(target=backup.run, args=(stop,))
        thread.start()
        try:
            yield backup.stats
        finally:
            stop.set()
            thread.join(30)
    assert not thread.is_alive()


def complete_since(stats: BackupStats, moment: float) -> bool:
    """Whether all that was there at a moment (``time.monotonic()``) is in the backup."""
    lags = [p.lag_seconds for p in stats.partitions.values()]
    since = time.monotonic() - moment
    return len(lags) == 2 and all(lag is not None and lag < since for lag in lags)
