"""Watches an agent: its state now, and after each change, without claiming it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from headwater.errors import UndecodableRecord
from headwater.kafka.reader import Follower
from headwater.log.fold import Agent, fold
from headwater.log.records import parse
from headwater.recovery import Recovered, Recovery
from headwater.state.values import copy_value

_POLL_S = 0.25


def watch(recovery: Recovery, agent_id: str, timeout: timedelta | None) -> Iterator[Recovered]:
    """Yields the agent at each of its versions from now on; see ``Client.watch``."""
    recovered = recovery.recover(agent_id)
    agent = recovered.agent
    yield _copy(recovered, agent)
    key = agent_id.encode()
    follower = Follower(
        recovery.config,
        recovery.config.topic("events"),
        recovered.partition,
        recovered.next_offset,
    )
    last = time.monotonic()
    try:
        while timeout is None or time.monotonic() - last < timeout.total_seconds():
            for message in follower.read(_POLL_S):
                if message.key() != key:
                    continue
                version = agent.head.version
                try:
                    fold(agent, parse(key, message.value()))
                except UndecodableRecord:
                    continue  # the compactor sets it aside
                if agent.head.deleted:
                    return
                if agent.head.version != version:
                    last = time.monotonic()
                    following = replace(recovered, next_offset=(message.offset() or 0) + 1)
                    yield _copy(following, agent)
    finally:
        follower.close()


def _copy(recovered: Recovered, agent: Agent) -> Recovered:
    # What was handed out must not change under its reader with the next event.
    still = Agent(agent.head, copy_value(agent.document), agent.inapplicable)
    return replace(recovered, agent=still)
