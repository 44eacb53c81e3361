"""Warm replicas of agents on a real Kafka: which are kept, how current, and who may have them."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import headwater
from headwater import AgentNotFound, Client, Config, SchemaTooNew
from headwater.agent.session import Session
from headwater.fleet.records import Route
from headwater.kafka.reader import Reader as KafkaReader
from headwater.node import replicas
from headwater.node.replicas import Replicas
from headwater.recovery import Recovered
from headwater.recovery.recover import Tail
from tests.support.sessions import append

pytestmark = pytest.mark.kafka

NAMES = [f"warm-{number}" for number in range(6)]


@dataclass
class Fleet:
    """A fleet that is this node and the one that owns the agents."""

    names: list[str] = field(default_factory=lambda: list(NAMES))

    def live(self) -> list[Any]:
        """Nobody else."""
        return []

    def routes(self) -> Iterator[Route]:
        """All agents are on one node."""
        return (Route(agent_id=name, kind="any", node_id="there") for name in self.names)


@pytest.fixture
def owned(other: Client) -> Iterator[dict[str, Session]]:
    """Agents of another node, new for each test, each with one message of 1 KB."""
    sessions: dict[str, Session] = {}
    for name in NAMES:
        session = other.open(name)
        assert isinstance(session, Session)
        append(session, "x" * 1000)
        sessions[name] = session
    yield sessions
    for name, session in sessions.items():
        session.release()
        with contextlib.suppress(AgentNotFound):
            other.delete(name)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas are read as soon as they are wanted."""
    monkeypatch.setattr(replicas, "_CALM_S", 0.0)


def made(hw: Client, limit_bytes: int = 1 << 20) -> Replicas:
    """Replicas of the fleet's agents."""
    return Replicas(hw, Fleet(), 100, limit_bytes)  # type: ignore[arg-type]


def test_replicas_wait_until_it_is_calm(
    hw: Client, owned: dict[str, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were wanted only just now are not read, since others are busy taking over."""
    now_s = 100.0
    monkeypatch.setattr(replicas, "suspended_clock", lambda: now_s)
    kept = made(hw)
    kept._choose()
    now_s += 2.9
    kept._choose()
    assert len(kept) == 0
    now_s += 0.2
    kept._choose()
    assert len(kept) == len(NAMES)


def test_replicas_follow(hw: Client, owned: dict[str, Session], at_once: None) -> None:
    """Each is what recovery gives, change for change; a deleted one is forgotten."""
    kept = made(hw)
    kept._choose()
    for number, name in enumerate(NAMES[:4]):
        for _ in range(number):
            append(owned[name], "more")
    kept._advance()
    for name in NAMES:
        found, proved = kept.get(name), hw.recover(name)
        assert found is not None
        assert (found.head.version, found.state_hash) == (proved.head.version, proved.state_hash)
    owned[NAMES[0]].release()
    hw.delete(NAMES[0])
    kept._advance()
    assert kept.get(NAMES[0]) is None
    assert len(kept) == len(NAMES) - 1


def test_a_replica_that_is_given_is_nobodys_else(
    hw: Client, owned: dict[str, Session], at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is given away while tails are being read is not touched any more."""
    kept = made(hw)
    kept._choose()
    for session in owned.values():
        append(session, "more")
    read = hw._recovery.tails
    given: dict[str, Recovered] = {}

    def tails(*args: Any) -> Iterator[Any]:
        for found in read(*args):
            given.update(kept.give(NAMES[:2]))
            yield found

    monkeypatch.setattr(hw._recovery, "tails", tails)
    before = {name: kept.get(name) for name in NAMES}
    kept._advance()
    assert set(given) == set(NAMES[:2])
    for name, found in given.items():
        was = before[name]
        assert was is not None and found.head.version == was.head.version
        assert kept.get(name) is None
    others = [kept.get(name) for name in NAMES[2:]]
    assert [r.head.version for r in others if r] == [owned[n].version for n in NAMES[2:]]


def test_there_is_room_for_so_many(
    hw: Client, owned: dict[str, Session], at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, and what does not fit is not read again and again."""
    kept = made(hw, limit_bytes=3500)
    kept._choose()
    assert len(kept) == 3
    asked: list[list[str]] = []

    def recover_many(_: Any, names: list[str]) -> list[Recovered]:
        asked.append(names)
        return []

    monkeypatch.setattr(replicas, "recover_many", recover_many)
    kept._choose()
    assert asked == []
    name = next(n for n in NAMES if kept.get(n) is not None)
    append(owned[name], "y" * 3000)
    kept._advance()
    assert kept.get(name) is None and len(kept) == 2
    kept._choose()
    assert asked == [[name]]


def test_a_takeover_goes_on_from_replicas(
    hw: Client, config: Config, owned: dict[str, Session], at_once: None
) -> None:
    """Claims of many, in several partitions, with what their replicas lack."""
    kept = made(hw)
    kept._choose()
    for session in owned.values():
        append(session, "behind")
        session.release()
    with headwater.connect(config.with_(node_id="heir")) as heir:
        for each in heir.open_many(NAMES, replicas=kept.give(NAMES)):
            assert each.session is not None, each.error
            assert list(each.session.state.messages)[-1] == "behind"
            append(each.session, "on")
            each.session.release()
    assert {hw.recover(name).state.messages[-1] for name in NAMES} == {"on"}


def test_an_end_that_lies_further_back_skips_nothing(
    hw: Client, owned: dict[str, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failover a leader may give less than its predecessor did: what one agent of a
    partition has read already says nothing of the others.
    """
    by_partition: defaultdict[int, list[str]] = defaultdict(list)
    for number in range(100):
        by_partition[hw._recovery.partition_of(f"more-{number}")].append(f"more-{number}")
    first, second = next(names for names in by_partition.values() if len(names) > 1)[:2]
    with hw.agent(first) as one, hw.agent(second) as two:
        append(one, 1)
        append(two, 1)
        behind = hw.recover(first)
        append(one, 2)
        between = hw.recover(first).next_offset
        append(two, 2)
        ahead = hw.recover(second)
    scan_many = KafkaReader.scan_many

    def shorter(self: KafkaReader, topic: str, spans: dict[int, Any]) -> Iterator[Any]:
        cut = {p: (start, min(between - 1, start)) for p, (start, _) in spans.items()}
        return scan_many(self, topic, cut)

    monkeypatch.setattr(KafkaReader, "scan_many", shorter)
    ((found, other),) = hw._recovery.advance_many([behind, ahead])
    assert other.next_offset == ahead.next_offset
    monkeypatch.undo()
    ((found,),) = hw._recovery.advance_many([found])
    assert found.head.version == 2


def test_what_is_wrong_with_one_is_not_the_others_affair(
    hw: Client, config: Config, owned: dict[str, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent whose records cannot be read fails alone, and can be claimed anew."""
    for session in owned.values():
        session.release()
    bad = NAMES[2]
    with headwater.connect(config.with_(node_id="heir")) as heir:
        follow = heir._recovery.follow

        def failing(tail: Tail) -> Recovered:
            if tail.recovered.agent_id == bad:
                raise SchemaTooNew("from the future")
            return follow(tail)

        monkeypatch.setattr(heir._recovery, "follow", failing)
        opened = {each.agent_id: each for each in heir.open_many(NAMES)}
        assert {name for name, each in opened.items() if each.error is not None} == {bad}
        assert isinstance(opened[bad].error, SchemaTooNew)
        monkeypatch.undo()
        (again,) = heir.open_many([bad])
        assert again.session is not None
        for each in [again, *opened.values()]:
            if each.session is not None:
                append(each.session, "on")
                each.session.release()
