"""An independent replay: folds the events of some agents of one partition, and remembers what it
came by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headwater.errors import HeadwaterError, UndecodableRecord
from headwater.log.records import parse
from headwater.recovery import Recovery
from headwater.recovery.replay import Start, start_of, take
from headwater.state.model import state_hash

from .corruption import Change

_PUTS_BACK = frozenset({"RESTORE", "DELETE"})


@dataclass(slots=True)
class Replayed:
    """What the replay of one agent came by.

    ``hashes``: for each version that was asked for, the hashes of the state at it, in hexadecimal
    digits (more than one where records that make no version changed the state). ``restored_at``:
    the version at which another state was last put in its place. ``error``: why it ended.
    """

    version: int = 0
    hashes: dict[int, frozenset[str]] = field(default_factory=dict)
    statuses: list[Change] = field(default_factory=list)
    restored_at: int = 0
    error: str = ""


def replay(
    recovery: Recovery, partition: int, wanted: Mapping[str, set[int]]
) -> dict[str, Replayed]:
    """Replays the agents of ``wanted``, all of one partition, to the end of its events; the values
    are the versions whose states are hashed. Reads the partition once.
    """
    topic = recovery.config.topic("events")
    keys = {agent_id.encode(): agent_id for agent_id in wanted}
    found = {agent_id: Replayed() for agent_id in wanted}
    starts: dict[bytes, Start | None] = {}
    with recovery.scans.lend() as reader:
        first, end = reader.range(topic, partition)
        for batch in reader.scan(topic, partition, first, end):
            for message in batch:
                key = message.key()
                if key is None or key not in keys:
                    continue
                agent_id, offset = keys[key], message.offset() or 0
                if key not in starts:
                    starts[key] = _start(recovery, partition, agent_id, first, found[agent_id])
                start = starts[key]
                if start is not None and offset >= start.offset:
                    _take(start, key, message.value(), found[agent_id], wanted[agent_id])
    return found


def _start(
    recovery: Recovery, partition: int, agent_id: str, first: int, found: Replayed
) -> Start | None:
    try:
        start = start_of(recovery, partition, agent_id, first=first)
    except HeadwaterError as error:
        found.error = str(error)
        return None
    found.restored_at = found.version = start.agent.head.version
    return start


def _take(
    start: Start, key: bytes, value: bytes | None, found: Replayed, versions: set[int]
) -> None:
    agent = start.agent
    before, sequence = agent.document["status"], agent.head.sequence
    try:
        change = parse(key, value)
        take(agent, change)
    except UndecodableRecord:
        return
    except HeadwaterError as error:
        found.error = str(error)
        return
    head = agent.head
    if head.sequence == sequence:
        return
    found.version = head.version
    after = agent.document["status"]
    if change.kind in _PUTS_BACK:
        found.restored_at = head.version
    elif change.kind == "CHANGE" and after != before:
        found.statuses.append(Change(version=head.version, before=before, after=after))
    if head.version in versions:
        digest = state_hash(head.agent_id, agent.document).hex()
        found.hashes[head.version] = found.hashes.get(head.version, frozenset()) | {digest}
