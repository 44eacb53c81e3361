"""Faults that are made to happen, for tests in which a guarantee holds or is switched off."""

from __future__ import annotations

from headwater.kafka import clients
from headwater.kafka.reader import Reader
from headwater.log.chain import partition_of
from tests.support.fleet import Fleet
from tests.support.rivals import inject

AGENT = "agent-0"


def doubled_records(fleet: Fleet, **env: str) -> list[str]:
    """The log holds an owner's last changes twice, as after a producer's blind retry; compactors
    run with ``env``. What the check then finds wrong.
    """
    fleet.compactor("compactor", **env)
    owner = fleet.worker("owner", [AGENT])
    fleet.await_acks([AGENT], 10)
    owner.kill()
    partition = partition_of(AGENT.encode(), fleet.partitions)
    reader = Reader(fleet.config, clients.SCANS)
    try:
        batches = list(reader.scan(fleet.config.topic("events"), partition, None))
    finally:
        reader.close()
    values = [m.value() or b"" for batch in batches for m in batch if m.key() == AGENT.encode()]
    inject(fleet.config, fleet.partitions, AGENT, *values[-3:])
    fleet.await_compacted()
    return fleet.violations()


def frozen_owner(fleet: Fleet, **env: str) -> list[str]:
    """An owner stops just before it sends a change, and wakes up once another has taken its agent
    and gone on; the first one runs with ``env``. What the check then finds wrong.
    """
    frozen = fleet.worker("frozen", [AGENT], env, freeze_at=5, changes=8)
    frozen.await_paused()
    heir = fleet.worker("heir", [AGENT], changes=5)
    assert heir.wait() == 0, heir.tail()
    frozen.resume()
    assert frozen.wait() == 0, frozen.tail()
    return fleet.violations()
