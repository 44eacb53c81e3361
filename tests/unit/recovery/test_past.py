"""An agent's past: every version and moment, from whatever is left of snapshots and events."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import InvalidState
from headwater.log.origin import encode_origin
from headwater.log.sealing import decode_snapshot, encode_snapshot
from headwater.recovery.listing import last_of_each, newest_first
from headwater.recovery.past import Missing
from headwater.state.diff import diff
from headwater.state.model import Document, new_document, state_hash
from headwater.state.patch import SET, encode_patch
from streams.snapshots.strategy import ChainLength, Outweigh, Strategy
from tests.support.compaction import Author
from tests.support.pasts import MemoryLog, Truth, check_all, check_broken, way_to
from tests.support.rig import Rig
from tests.support.runs import Run, expected, find_runs, name_of, read_runs

DEEDS = st.sampled_from(
    ["say"] * 10 + ["commit"] * 6 + ["claim", "release", "checkpoint", "restore", "refer"] * 2
    + ["delete", "bad patch", "empty", "foreign", "restart"]
)  # fmt: skip
STRATEGIES: list[Strategy] = [
    Outweigh(),
    Outweigh(factor=2.0, increments=3),
    ChainLength(longest=2),
]


def _refer(rig: Rig, author: Author, number: int) -> bytes:
    """A restore by reference to some version of the agent itself."""
    log = MemoryLog(rig, author.key)
    version = number % (max(Truth.of(rig, author.key).documents) + 1)
    return author.raw("RESTORE", encode_origin(way_to(log.past().at_version(version))))


def _record(rig: Rig, author: Author, deed: str, number: int) -> bytes:
    if deed == "claim":
        return author.claim()
    if deed == "restore":
        return author.raw("RESTORE", encode_patch([(SET, ["data"], {"restored": number})]))
    if deed == "refer":
        return _refer(rig, author, number)
    if deed == "bad patch":
        return author.raw("CHANGE", bytes([number % 256, 0x93]))
    if deed == "empty":
        return author.raw("CHANGE")
    if deed == "say":
        return author.say(str(number) * 20)
    return author.raw(deed.upper())


def perform(rig: Rig, author: Author, deeds: list[tuple[str, int]]) -> None:
    """Write and commit what the deeds say."""
    for deed, number in deeds:
        if deed == "commit":
            rig.commit()
        elif deed == "restart":
            rig.commit()
            rig.restart()
        elif deed == "foreign":
            rig.take((b"another", b"junk"))
        else:
            rig.take((author.key, _record(rig, author, deed, number)))


@given(
    st.lists(st.tuples(DEEDS, st.integers(0, 60)), max_size=60),
    st.sampled_from(STRATEGIES),
    st.integers(0, 60),
)
@settings(max_examples=120)
def test_every_version_of_any_history_is_what_the_log_says(
    deeds: list[tuple[str, int]], strategy: Strategy, first: int
) -> None:
    """By version and by offset; with events gone the right state or none, and those promised."""
    rig, author = Rig(strategy, limit=3000), Author("a")
    rig.take((author.key, author.claim()))
    perform(rig, author, deeds)
    rig.commit()
    check_all(rig, author, first)


def _damaged(rig: Rig, places: list[int]) -> dict[int, bytes | None]:
    """What stands in place of some snapshots: nothing, rubbish, or a payload with a bit flipped."""
    broken: dict[int, bytes | None] = {}
    offsets = sorted(rig.store.snapshots)
    for place in places if offsets else ():
        offset = offsets[place % len(offsets)]
        value = rig.store.snapshots[offset][1]
        snapshot = decode_snapshot(value or b"")
        payload = bytearray(snapshot.payload)
        payload[place % len(payload)] ^= 1 + place % 127
        fields = {name: getattr(snapshot, name) for name in snapshot.__struct_fields__}
        flipped = encode_snapshot(type(snapshot)(**fields | {"payload": bytes(payload)}))
        broken[offset] = [None, b"rubbish", flipped][place % 3]
    return broken


@given(
    st.lists(st.tuples(DEEDS, st.integers(0, 60)), min_size=10, max_size=60),
    st.lists(st.integers(0, 500), min_size=1, max_size=6),
    st.sampled_from(STRATEGIES),
    st.integers(0, 60),
)
@settings(max_examples=120)
def test_broken_snapshots_never_lead_to_a_wrong_state(
    deeds: list[tuple[str, int]], places: list[int], strategy: Strategy, first: int
) -> None:
    """Flipped bits, rubbish and holes: the events or older snapshots prove it, or nothing does."""
    rig, author = Rig(strategy, limit=3000), Author("a")
    rig.take((author.key, author.claim()))
    perform(rig, author, [each for each in deeds if each[0] != "refer"])
    rig.commit()
    broken = _damaged(rig, places)
    assert check_broken(rig, author.key, broken, 0) == 0, "with all events nothing is lost"
    check_broken(rig, author.key, broken, min(first, rig.store.position().next_offset))


def test_an_older_chain_stands_in_for_a_broken_full_snapshot() -> None:
    """What a chain was ended with leads to where the next begins, without any event."""
    rig, author = Rig(ChainLength(longest=1)), Author("a")
    rig.add(author, author.claim(), author.say("1"))
    for number in range(2, 12):
        rig.add(author, author.say(str(number)))
    log = MemoryLog(rig, author.key, first=len(rig.store.events))
    first = rig.chain("a")[0]
    flipped = bytearray(rig.value(first.offset))
    flipped[-1] ^= 1
    log.broken = {first.offset: bytes(flipped)}
    past = log.past()
    found = past.at_version(first.to_version)
    assert found.agent.document["messages"][-1] == str(first.to_version)
    assert past.newest().version == 11
    assert any("checksum" in warning for warning in past.warnings)
    assert check_broken(rig, author.key, log.broken, log.first) == 0


def test_events_that_are_gone_are_noticed() -> None:
    """What is left counts only where a record that was admitted proves that nothing is missing."""
    rig, author, other = Rig(), Author("a"), Author("b")
    rig.take((other.key, other.claim()), (author.key, author.claim()))
    rig.take(*[(author.key, author.say(text)) for text in ("1", "2", "3")])
    rig.commit()
    # Only another agent's event is gone: the first record here proves that.
    log = MemoryLog(rig, author.key, 1, dict.fromkeys(rig.store.snapshots))
    assert log.past().at_version(2).agent.document["messages"] == ["1", "2"]
    # Its claim is gone, too: what is behind it extends nothing that is known.
    log.first = 2
    with pytest.raises(Missing):
        log.past().at_version(2)
    with pytest.raises(Missing):
        log.past().at_offset(3)


def test_snapshots_of_a_deleted_agent_are_found_by_looking_at_all() -> None:
    """No index entry leads to them any more, and their own keys say how they hang together."""
    rig, author = Rig(ChainLength(longest=2)), Author("a")
    rig.add(author, author.claim(), author.say("1"))
    for number in range(2, 9):
        rig.add(author, author.say(str(number)))
    rig.add(author, author.raw("DELETE"))
    log = MemoryLog(rig, author.key, first=len(rig.store.events))
    past = log.past()
    with pytest.raises(Missing):
        past.at_version(5)
    assert past.search()
    for version in range(1, 9):
        found = past.at_version(version).agent.document["messages"]
        assert found == [str(n) for n in range(1, version + 1)]
    assert not past.search()


def test_a_state_that_is_held_by_itself_must_be_the_one_that_is_meant() -> None:
    """A full snapshot outside of every chain counts if checksum and known hash are right."""
    rig, author = Rig(), Author("a")
    rig.add(author, author.claim(), author.say("1"))
    (pointer,) = rig.chain("a")
    log = MemoryLog(rig, author.key)
    found = decode_snapshot(rig.value(pointer.offset)).state_hash
    assert log.past().held(pointer, found).agent.document["messages"] == ["1"]
    with pytest.raises(InvalidState, match="another state"):
        log.past().held(pointer, bytes(32))
    log.broken = {pointer.offset: rig.value(pointer.offset)[:-1] + b"!"}
    with pytest.raises(InvalidState, match="checksum"):
        log.past().held(pointer, None)


def test_snapshots_are_listed_with_the_state_that_they_lead_to() -> None:
    """Newest first, through all chains: step, records to read, and what each is an increment of."""
    rig, author = Rig(ChainLength(longest=2)), Author("a")
    rig.add(author, author.claim(), author.say("1"))
    for number in range(2, 9):
        rig.add(author, author.say(str(number)))
    log = MemoryLog(rig, author.key)
    found = list(newest_first(log.past()))
    assert [info.version for info in found] == sorted((i.version for i in found), reverse=True)
    truth = Truth.of(rig, author.key)
    for info in found:
        assert (info.status, info.step) == ("busy", truth.documents[info.version]["step"])
        assert (info.base_id is None) == (info.kind == "full") == (info.records == 1)
        if info.changes is not None:
            assert info.changes.new_messages
    assert {"full", "incremental"} == {info.kind for info in found}


def test_of_each_session_the_last_are_listed() -> None:
    """So many of each, or of one alone, and none that is too old."""
    rig, author = Rig(ChainLength(longest=2)), Author("a")
    rig.add(author, author.claim(), author.say("1"))
    for number in range(2, 9):
        rig.add(author, author.say(str(number)))
    found = list(newest_first(MemoryLog(rig, author.key).past()))
    mixed = [replace(info, session_id=f"s-{number % 2}") for number, info in enumerate(found)]
    assert last_of_each(mixed, None, 2, 0) == mixed[:4]
    assert last_of_each(mixed, "s-1", 2, 0) == [mixed[1], mixed[3]]
    assert last_of_each(mixed, "nobody", 2, 0) == []
    assert last_of_each(mixed, None, 2, mixed[0].created_at.timestamp() + 60) == []


def _steps(index: int, run: Run) -> list[Document]:
    """The states that a recorded run goes through: the last as the file says, each before it as
    far as its messages go.
    """
    last = expected(index, run)
    steps = []
    for count in range(1, len(run["traj"]) + 1):
        part = {**run, "traj": run["traj"][:count]}
        status = "done" if count == len(run["traj"]) else "working"
        steps.append({**expected(index, part), "status": status})
    assert steps[-1] == last
    return steps


def _play(
    index: int, run: Run, strategy: Strategy, every: int
) -> tuple[Rig, Author, list[Document]]:
    """A run's changes, restores to its middle on the way, and a commit after ``every`` changes."""
    rig, author = Rig(strategy), Author(name_of(index))
    rig.take((author.key, author.claim()))
    model, now = [new_document()], new_document()
    for number, document in enumerate(_steps(index, run), 1):
        rig.take((author.key, author.raw("CHANGE", encode_patch(diff(now, document)))))
        model.append(document)
        now = document
        if number % 7 == 0:
            back = len(model) // 2
            patch = encode_patch(diff(now, model[back]))
            if number % 2:
                patch = encode_origin(way_to(MemoryLog(rig, author.key).past().at_version(back)))
            rig.take((author.key, author.raw("RESTORE", patch)))
            now = model[back]
            model.append(now)
        if number % every == 0:
            rig.commit()
    rig.commit()
    return rig, author, model


def test_every_version_of_the_recorded_runs_is_what_the_file_says() -> None:
    """All agents, with restores on the way; from all that there is, and from snapshots alone."""
    for index, run in enumerate(read_runs(find_runs())):
        rig, author, model = _play(index, run, STRATEGIES[index % len(STRATEGIES)], 1 + index % 4)
        name = author.agent_id
        for first in (0, len(rig.store.events)):
            log, reached = MemoryLog(rig, author.key, first), 0
            least = 0 if first == 0 else rig.chain(name)[0].to_version
            for version, document in enumerate(model):
                if version >= least:
                    point = log.past().at_version(version)
                    found = state_hash(name, point.agent.document)
                    assert found == state_hash(name, document), f"{name} at version {version}"
                    reached += 1
            assert reached == len(model) - least
