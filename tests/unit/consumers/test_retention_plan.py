"""Retention's plan, rule by rule, on records made by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import Message

from consumers.retention import BackupPin, Plan, Policy, decode_pin, encode_pin, make_plan
from consumers.retention.agents import staying
from consumers.retention.chains import chains_of, redundant
from consumers.retention.inventory import Followed
from consumers.retention.model import HELD, UNREADABLE, Holdings, Indexed, Marked, State, Stored
from consumers.retention.plan import Deleted, count_losses
from consumers.retention.ranges import count, minus, union
from headwater.errors import ConfigError, UndecodableRecord
from headwater.log.checkpoints import checkpoint_key, held_id, state_key
from headwater.log.snapshots import FULL, INCREMENTAL, ORIGIN, snapshot_key

HOUR = 3_600_000
NOW = 1000 * HOUR
OLD, YOUNG = NOW - 100 * HOUR, NOW - HOUR


def stored(offset: int, low: int, high: int | None = None, at: int = OLD, **more: Any) -> Stored:
    """A snapshot of agent a: a full one at ``low``, or an increment up to ``high``."""
    kind = more.pop("kind", FULL if high is None else INCREMENTAL)
    name = more.pop("agent_id", "a")
    key = snapshot_key(name, low, low if high is None else high)
    return Stored(
        key=held_id(name, low) if kind == HELD else key,
        agent_id=name,
        kind=kind,
        offset=offset,
        written_at=at,
        size=100,
        from_version=low,
        to_version=low if high is None else high,
        events_offset=10 * (low if high is None else high),
        **more,
    )


def marked(name: str, version: int, at: int = YOUNG, type_: str = "manual", **more: Any) -> Marked:
    """A checkpoint of agent a."""
    return Marked(
        key=checkpoint_key("a", name),
        agent_id="a",
        checkpoint_id=name,
        type=type_,
        version=version,
        sequence=version,
        offset=version,
        made_at=at,
        size=10,
        **more,
    )


def holdings(*records: Stored, version: int = 9, **more: Any) -> Holdings:
    """A partition in which the index of agent a lists the offsets of ``listed``."""
    listed = tuple(more.pop("listed", ()))
    entry = Indexed(version=version, offsets=listed, written_at=more.pop("indexed_at", OLD))
    given: dict[str, Any] = {"partition": 0, "index": {"a": entry}, "position": 500, "young": 400}
    return Holdings(snapshots={r.key: r for r in records}, **(given | more))


def gone(plan: Plan) -> set[str]:
    """The keys that go, without the agent's id where it is a."""
    keys = [key for part in plan.partitions for drop in part.drops for key in drop.keys]
    return {key.decode().removeprefix("a\0") for key in keys}


def planned(*parts: Holdings, policy: Policy | None = None, **more: Any) -> Plan:
    """The plan."""
    return make_plan(parts, policy or Policy(), NOW, **more)


TWO_CHAINS = (stored(0, 1), stored(1, 1, 3), stored(2, 3, 5), stored(3, 5, at=OLD + HOUR))


def test_a_chain_goes_once_what_replaced_it_is_old() -> None:
    """It is the age of the chain that took its place which counts."""
    assert gone(planned(holdings(*TWO_CHAINS, listed=[3]))) == {"1-1", "1-3", "3-5"}
    young = (*TWO_CHAINS[:3], stored(3, 5, at=YOUNG))
    assert gone(planned(holdings(*young, listed=[3]))) == set()


def test_what_the_index_lists_stays_however_old() -> None:
    """And so does everything of an agent that the index does not know, or knows better."""
    assert gone(planned(holdings(*TWO_CHAINS, listed=[0, 1, 2, 3]))) == set()
    assert gone(planned(holdings(*TWO_CHAINS, listed=[3], index={}))) == set()
    assert gone(planned(holdings(*TWO_CHAINS[:3], listed=[77]))) == set()


def test_what_a_deleted_agent_had_goes_a_day_after() -> None:
    """Its index entry, which lists nothing, says when that was."""
    assert gone(planned(holdings(*TWO_CHAINS[:3]))) == {"1-1", "1-3", "3-5"}
    assert gone(planned(holdings(*TWO_CHAINS[:3], indexed_at=YOUNG))) == set()


def test_increments_that_another_took_in_go_after_the_grace() -> None:
    """Not the ones at its ends, and not as long as somebody may be about to read them."""
    just = stored(4, 1, 5, at=NOW - 60_000)
    records = (stored(0, 1), stored(1, 1, 3), stored(2, 3, 5), stored(3, 5, 6))
    assert gone(planned(holdings(*records, just, listed=[0, 4, 3]))) == set()
    merged = stored(4, 1, 5, at=NOW - HOUR)
    policy = Policy(listed=0)
    found = planned(holdings(*records, merged, listed=[0, 4, 3]), policy=policy)
    assert gone(found) == {"1-3", "3-5"}
    vague = stored(4, 1, 5, at=NOW - HOUR, exact=False)
    assert gone(planned(holdings(*records, vague, listed=[0, 4, 3]), policy=policy)) == set()


def test_the_last_ten_of_a_session_stay_listed_for_a_day() -> None:
    """Though others hold the same."""
    small = [stored(n, n, n + 1, at=YOUNG, session_id="s") for n in range(1, 15)]
    merged = stored(20, 1, 15, at=YOUNG, session_id="s")
    part = holdings(stored(0, 1), *small, merged, listed=[0, 20], version=15)
    assert gone(planned(part)) == {f"{n}-{n + 1}" for n in range(1, 6)}


def test_a_checkpoint_keeps_its_chain_until_it_has_a_state_of_its_own() -> None:
    """And the beginnings of all later chains, through which it is found."""
    chains = (*TWO_CHAINS, stored(4, 5, 7), stored(5, 7, at=OLD + 2 * HOUR))
    mark = marked("c", 4, at=NOW - 60_000)
    part = holdings(*chains, listed=[5], checkpoints={mark.key: mark})
    assert gone(planned(part)) == {"5-7"}
    late = marked("c", 4, at=NOW - 2 * HOUR)
    part = holdings(*chains, listed=[5], checkpoints={late.key: late})
    plan = planned(part)
    (hold,) = plan.partitions[0].holds
    assert [record.offset for record in hold.path] == [0, 1, 2]
    assert gone(plan) == {"1-1", "1-3", "3-5", "5-5", "5-7"}
    assert gone(planned(part, cannot=frozenset([late.key]))) == {"5-7"}


def test_a_held_state_lives_as_long_as_its_checkpoint() -> None:
    """Record and pointer go with it; one that somebody gave up goes at once."""
    own = stored(8, 4, kind=HELD)
    state = State(
        key=state_key("a", "c"), agent_id="a", checkpoint_id="c", version=4, held_at=OLD,
        offset=8, size=10,
    )  # fmt: skip
    live = marked("c", 4)
    kept: dict[str, Any] = {
        "checkpoints": {live.key: live},
        "states": {state.key: state},
        "listed": [3],
    }
    assert gone(planned(holdings(TWO_CHAINS[3], own, **kept))) == set()
    given_up = marked("c", 4, deleted=True)
    kept["checkpoints"] = {given_up.key: given_up}
    assert gone(planned(holdings(TWO_CHAINS[3], own, **kept))) == {"c", "c\0state", "4-4\0c"}


def test_two_checkpoints_of_one_version_share_a_state() -> None:
    """It stays for the one when the other goes."""
    own = stored(8, 4, kind=HELD)
    live, dead = marked("c", 4), marked("d", 4, deleted=True)
    part = holdings(TWO_CHAINS[3], own, listed=[3], checkpoints={live.key: live, dead.key: dead})
    plan = planned(part)
    assert gone(plan) == {"d"}
    assert [hold.held for hold in plan.partitions[0].holds] == [own]


def test_which_checkpoints_go_first() -> None:
    """Automatic ones, then emergency ones, then the rest; the newest never by number."""
    kinds = ["manual", "automatic", "emergency", "milestone", "automatic", "automatic"]
    marks = [marked(str(n), n, type_=kind) for n, kind in enumerate(kinds)]

    def left(most: int) -> str:
        kept = staying(marks, Policy(checkpoints_max=most), NOW)
        return "".join(each.checkpoint_id for each in kept)

    assert [left(most) for most in range(6, 0, -1)] == [
        "012345", "02345", "0235", "035", "35", "5",
    ]  # fmt: skip
    old = marked("x", 9, at=NOW - 8 * 24 * HOUR, type_="milestone")
    assert staying([old], Policy(), NOW) == []


def test_what_a_fork_goes_back_to_stays_in_every_partition() -> None:
    """Through an origin of an origin, and for one that is only in events yet."""
    there = holdings(*TWO_CHAINS, listed=[3])
    middle = stored(0, 1, agent_id="b", kind=ORIGIN, base=((0, 0), (0, 1)))
    newer = stored(1, 5, agent_id="b", at=OLD + HOUR)
    last = stored(0, 1, agent_id="c", kind=ORIGIN, base=((1, 0),))
    entries = {
        name: Indexed(version=5, offsets=offsets, written_at=OLD)
        for name, offsets in (("b", (1,)), ("c", (0,)))
    }
    two = holdings(middle, newer, partition=1, index=entries)
    three = holdings(last, partition=2, index=entries)
    assert gone(planned(there, two, three)) == {"3-5"}
    assert gone(planned(there, two)) == {"1-1", "1-3", "3-5", "b\x001-1"}
    there.origins = ((0, 2),)
    assert gone(planned(there)) == {"1-1", "1-3"}


def test_chunks_go_with_their_snapshot() -> None:
    """And count as its bytes; what nobody can read stays."""
    broken = stored(9, 2, 3, kind=UNREADABLE)
    chunks = {"a\x001-1": {"a\x001-1\x000": 900, "a\x001-1\x001": 50}, "a\x005-5": {"x": 1}}
    plan = planned(holdings(*TWO_CHAINS, broken, listed=[3], chunks=chunks))
    assert gone(plan) == {"1-1", "1-1\x000", "1-1\x001", "1-3", "3-5"}
    assert plan.total.size == 300 + 950


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, (400, "history")),
        ({"position": 30}, (30, "compactor")),
        ({"backup": BackupPin(events=20, snapshots=99, checkpoints=99)}, (20, "backup")),
        ({"events_start": 50, "position": 30}, (50, "compactor")),
    ],
)
def test_events_stay_for_whoever_has_yet_to_read_them(
    more: dict[str, Any], expected: tuple[int, str]
) -> None:
    """The low-water mark is the lowest of all, and never goes back."""
    (part,) = planned(holdings(*TWO_CHAINS, listed=[3], **more)).partitions
    assert (part.low_water, part.because) == expected


def test_events_stay_for_a_checkpoint_that_snapshots_do_not_lead_to() -> None:
    """Back to the last snapshot before it; reported once it cannot be helped."""
    mark = marked("c", 4, at=NOW - 2 * HOUR)
    records = (stored(0, 1), stored(1, 1, 3), stored(3, 5, at=YOUNG))
    part = holdings(*records, listed=[3], checkpoints={mark.key: mark})
    plan = planned(part)
    assert (plan.partitions[0].low_water, plan.overdue) == (400, [])
    plan = planned(part, cannot=frozenset([mark.key]))
    assert (plan.partitions[0].low_water, plan.overdue) == (30, ["a"])


def test_what_a_backup_has_not_copied_stays() -> None:
    """Snapshots and checkpoints from its positions on."""
    dead = marked("c", 4, deleted=True)
    pin = BackupPin(events=500, snapshots=1, checkpoints=4)
    part = holdings(*TWO_CHAINS, listed=[3], checkpoints={dead.key: dead}, backup=pin)
    assert gone(planned(part)) == {"1-1"}
    assert decode_pin(encode_pin(pin)) == pin
    with pytest.raises(UndecodableRecord):
        decode_pin(b"no position")


def test_losses_are_counted() -> None:
    """Versions that can no longer be had back, with events and without."""
    part = holdings(*TWO_CHAINS, listed=[3])
    plan = planned(part)
    count_losses(plan, [part], {})
    assert plan.agents["a"].points == 4  # 5 is where the next chain begins
    plan = planned(part)
    count_losses(plan, [part], {0: {"a": Deleted(records=7, size=70, last=390)}})
    assert (plan.agents["a"].points, plan.total.events_size) == (8, 70)
    plan = planned(part)
    count_losses(plan, [part], {0: {}})
    assert plan.total.points == 0  # all its events are there


def test_chains_are_told_apart_by_versions() -> None:
    """Where one begins, the one before has ended."""
    lost, first, second = chains_of([stored(9, 0, 1), *TWO_CHAINS, stored(4, 5, 8)])
    assert (lost.begin, len(lost.increments)) == (None, 1)
    assert [r.offset for r in first.path(4)] == [0, 1, 2]
    assert [r.offset for r in second.records] == [3, 4]
    assert first.versions() == [(1, 5)]
    assert (second.path(9), lost.path(1)) == ((), ())
    assert not redundant(first)


def test_ranges() -> None:
    """Sets of versions."""
    assert union([(5, 6), (1, 3), (4, 4), (9, 8)]) == [(1, 6)]
    assert minus([(1, 9)], [(2, 3), (5, 5), (9, 12)]) == [(1, 1), (4, 4), (6, 8)]
    assert count([(1, 3), (7, 7)]) == 4


def test_keys_are_read_from_their_end() -> None:
    """For the id of an agent may look like any part of a key; tombstones take all away."""
    followed = Followed(0, lambda _, offset: None)

    def take(key: str, value: bytes | None) -> None:
        followed.take_snapshot(
            Message(
                topic="snapshots",
                partition=0,
                offset=7,
                key=key.encode(),
                value=value,
                timestamp=(1, 5),
            )
        )

    keys = ["x\x001-2\x003-4", "x\x003-3\0c", "x\x001-2\x000", "x\x003-3\0c\x000", "nothing"]
    for key in keys:
        take(key, b"unreadable")
    found = {r.key: (r.agent_id, r.from_version, r.to_version) for r in followed.snapshots.values()}
    assert found == {keys[0]: ("x\x001-2", 3, 4), keys[1]: ("x", 3, 3), "nothing": ("", 0, 0)}
    assert followed.chunks.keys() == {"x\x001-2", "x\x003-3\0c"}
    for key in keys:
        take(key, None)
    assert not (followed.snapshots or followed.chunks)


def test_periods_that_make_no_sense_are_refused() -> None:
    """None is negative, and somebody always stays."""
    with pytest.raises(ConfigError, match="history"):
        Policy(history=timedelta(seconds=-1))
    with pytest.raises(ConfigError, match="newest"):
        Policy(checkpoints_max=0)
    assert Policy(history=timedelta(0)).history_ms == Policy().grace_ms
