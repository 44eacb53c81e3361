"""The past of agents in a log in memory, and what the fold of the log says that it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from headwater.errors import HeadwaterError
from headwater.log.fold import Agent, fold, new_agent
from headwater.log.origin import Origin
from headwater.log.records import parse
from headwater.log.resolve import resolver
from headwater.log.snapshots import POSITION_KEY, decode_entry
from headwater.recovery.past import Missing, Past, Point
from headwater.state.model import state_hash
from headwater.state.values import copy_value
from tests.support.compaction import Author
from tests.support.rig import Rig


@dataclass
class MemoryLog:
    """The log of one agent in a rig. Events before ``first`` are gone; of snapshots, ``broken``
    says what is there instead (None: nothing).
    """

    rig: Rig
    key: bytes
    first: int = 0
    broken: dict[int, bytes | None] = field(default_factory=dict)

    def fetch(self, partition: int, offset: int) -> bytes | None:
        """A snapshot record."""
        if offset in self.broken:
            return self.broken[offset]
        return self.rig.store.snapshots.get(offset, ("", None))[1]

    def listed(self) -> Iterator[tuple[bytes, int, int]]:
        """The agent's snapshots."""
        for offset, (key, value) in self.rig.store.snapshots.items():
            if key.encode().startswith(self.key + b"\0") and value is not None:
                yield key.encode(), offset, len(value)

    def range(self) -> tuple[int, int]:
        """The ends of the events."""
        return self.first, len(self.rig.store.events)

    def events(self, start: int, until: int) -> Iterator[tuple[int, bytes | None]]:
        """The agent's events."""
        assert start >= self.first, "events that are gone"
        for message in self.rig.store.events[start:until]:
            if message.key() == self.key:
                yield message.offset() or 0, message.value()

    def past(self) -> Past:
        """The agent's past."""
        index = self.rig.store.index
        value, position = index.get(self.key), index.get(POSITION_KEY)
        return Past(
            self.key.decode(),
            0,
            self,
            decode_entry(value) if value else None,
            self.rig.store.position().next_offset if position else 0,
            resolver(self.fetch),
        )


@dataclass
class Truth:
    """What the fold of an agent's events gives: by version, and after each offset."""

    documents: dict[int, Any]
    offsets: list[tuple[int, bytes]]
    agent: Agent

    @classmethod
    def of(cls, rig: Rig, key: bytes) -> Truth:
        """Fold all events."""
        log = MemoryLog(rig, key)
        agent = new_agent(key.decode(), resolver(log.fetch))
        documents = {0: copy_value(agent.document)}
        offsets = []
        for message in rig.store.events:
            if message.key() == key:
                with contextlib.suppress(HeadwaterError):
                    fold(agent, parse(key, message.value()))
                if agent.head.version not in documents:
                    documents[agent.head.version] = copy_value(agent.document)
            offsets.append((agent.head.version, agent.head.hash))
        return cls(documents, offsets, agent)


def check_point(truth: Truth, log: MemoryLog, point: Point, version: int) -> None:
    """A point is the version it is to be, and so is what its way leads to."""
    name = log.key.decode()
    expected = state_hash(name, truth.documents[version])
    assert point.version == version
    assert state_hash(name, point.agent.document) == expected
    assert state_hash(name, resolver(log.fetch)(way_to(point))) == expected


def way_to(point: Point) -> Origin:
    """A point as a restore refers to it."""
    name = point.agent.head.agent_id
    return Origin(
        agent=name,
        version=point.version,
        hash=None,
        state_hash=state_hash(name, point.agent.document),
        size=100,
        base=tuple(point.base),
        patches=tuple(point.patches),
    )


def promised(log: MemoryLog) -> set[int]:
    """The versions that snapshots alone must lead to: all in chains whose patches are versions."""
    found = {0}
    past = log.past()
    for chain in past.chains():
        found.add(chain.first)
        for pointer in chain.pointers[1:]:
            snapshot = past.reader.read(pointer)
            if snapshot.change_count == pointer.to_version - pointer.from_version:
                found.update(range(pointer.from_version, pointer.to_version))
            found.add(pointer.to_version)
    return found


def check_all(rig: Rig, author: Author, first: int) -> None:
    """Every version and every offset, with all events and with those from ``first`` on."""
    truth = Truth.of(rig, author.key)
    whole = MemoryLog(rig, author.key)
    for version in truth.documents:
        check_point(truth, whole, whole.past().at_version(version), version)
    for offset, (version, reached) in enumerate(truth.offsets):
        point = whole.past().at_offset(offset + 1)
        assert (point.version, point.agent.head.hash) == (version, reached)
    position = rig.store.position().next_offset
    cut = MemoryLog(rig, author.key, first=min(first, position))
    must = promised(cut)
    for version in truth.documents:
        try:
            point = cut.past().at_version(version)
        except Missing:
            assert version not in must
        else:
            check_point(truth, cut, point, version)
    for offset in range(cut.first, len(truth.offsets)):
        try:
            point = cut.past().at_offset(offset + 1)
        except Missing:
            continue
        version, reached = truth.offsets[offset]
        assert (point.version, point.agent.head.hash) == (version, reached)
    with pytest.raises(Missing):
        whole.past().at_version(max(truth.documents) + 1)


def check_broken(rig: Rig, key: bytes, broken: dict[int, bytes | None], first: int) -> int:
    """With snapshots broken and events gone, each version is right or refused; how many are."""
    truth = Truth.of(rig, key)
    log = MemoryLog(rig, key, first, broken)
    refused = 0
    for version, document in truth.documents.items():
        try:
            point = log.past().at_version(version)
        except Missing:
            refused += 1
            continue
        assert state_hash(key.decode(), point.agent.document) == state_hash(key.decode(), document)
    return refused
