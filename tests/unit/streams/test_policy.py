"""When the compactor makes a checkpoint by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import ConfigError
from headwater.log.checkpoints import Checkpoint, decode_checkpoint
from headwater.log.notes import Forget, Note, encode_note
from headwater.log.snapshots import decode_entry
from headwater.state.patch import APPEND, REMOVE, SET, encode_patch
from headwater.state.values import pack
from streams.snapshots.commit import Commit
from streams.snapshots.ledger import Ledger
from streams.snapshots.policy import OFF, TRIGGERS, CheckpointPolicy, Schedule
from tests.support.compaction import STARTS, Author, Failure, MemoryStore
from tests.support.rig import Rig

SECOND = timedelta(seconds=1)
STATUS = (SET, ["status"], "waiting")
STEP_20 = (SET, ["step"], 20)


class PolicyRig(Rig):
    """A log, a store and commits between them, by a policy and at times that the test tells."""

    def __init__(self, policy: CheckpointPolicy) -> None:
        self.policy = policy
        self.now_ms = 1_000_000
        super().__init__()

    def _taken_over(self) -> Ledger:
        holdings = self.store.take_over()
        entries = dict(holdings.entries)
        return Ledger(0, 1, holdings.position, entries, self.limit, self.policy)

    def pass_ms(self, duration_ms: int) -> None:
        """Let time pass, remind, and commit."""
        self.now_ms += duration_ms
        self.ledger.remind(self.now_ms)
        if self.ledger.has_pending:
            Commit(0, self.store, self.writing, self.ledger.harvest(self.now_ms)).run()

    def say(self, author: Author, *values: bytes) -> None:
        """Take records in and commit them, at once."""
        self.take(*[(author.key, value) for value in values])
        self.pass_ms(0)

    @property
    def checkpoints(self) -> list[tuple[str, int]]:
        """Ids and versions of what was kept, in order of version."""
        found = map(decode_checkpoint, self.store.checkpoints.values())
        return sorted([(c.checkpoint_id, c.version) for c in found if not c.deleted])


def test_settings_that_make_no_sense_are_refused() -> None:
    """Each names what is wrong."""
    bad: list[dict[str, Any]] = [
        {"trigger": "moon"},
        {"interval": timedelta(0)},
        {"every_steps": 0},
    ]
    for settings, said in zip(bad, ("moon", "positive", "at least 1"), strict=True):
        with pytest.raises(ConfigError, match=said):
            CheckpointPolicy(**settings)


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_each_trigger_looks_at_what_it_is_named_for(trigger: str) -> None:
    """Time alone needs no look at changes; hybrid takes any; a milestone is more than a status."""
    policy = CheckpointPolicy(trigger=trigger)
    assert (policy.interval_ms is not None) == (trigger in ("time", "hybrid"))
    assert policy.looks_at_changes == (trigger in ("state", "step", "hybrid"))
    if not policy.looks_at_changes:
        return
    status, step = trigger in ("state", "hybrid"), trigger in ("step", "hybrid")
    assert policy.at_change(encode_patch([STATUS])) == ("automatic" if status else None)
    assert policy.at_change(encode_patch([STEP_20])) == ("milestone" if step else None)
    both = policy.at_change(encode_patch([STATUS, STEP_20]))
    assert both == ("milestone" if step else "automatic")


def test_only_steps_that_are_multiples_are_milestones() -> None:
    """Zero is where an agent begins; what is no number, or deeper down, is no step."""
    policy = CheckpointPolicy(trigger="step", every_steps=7)

    def is_milestone(value: object, path: list[Any] | None = None) -> bool:
        return policy.at_change(encode_patch([(SET, path or ["step"], value)])) is not None

    assert [n for n in range(-7, 30) if is_milestone(n)] == [7, 14, 21, 28]
    assert not is_milestone(True)
    assert not is_milestone(7, ["data", "step"])
    assert policy.at_change(encode_patch([(REMOVE, ["step"]), (APPEND, ["step"], 7)])) is None


_rubbish = st.recursive(
    st.sampled_from(["status", "step", 0, 7, None, True, b"\xa6status"]),
    lambda inner: st.lists(inner, max_size=4),
)


@given(_rubbish)
def test_rubbish_calls_for_nothing_and_stops_nothing(value: Any) -> None:
    """Whatever somebody writes as a patch, the compactor goes on."""
    policy = CheckpointPolicy(trigger="hybrid", every_steps=7)
    packed = pack(value)
    for patch in (packed, packed[:-1], b"\xa4step" + packed, b"\xa6status"):
        found = policy.at_change(patch)
        assert found is None or any(
            type(op) is list and op[:1] == [0] and op[1] in (["step"], ["status"]) for op in value
        )


def test_a_schedule_tells_each_agent_once_when_its_time_has_come() -> None:
    """In the order of their times; one that waits already is not put off by a change."""
    schedule = Schedule(1000)
    schedule.changed(b"b", 500)
    schedule.changed(b"a", 0)
    schedule.changed(b"a", 900)
    assert list(schedule.due(999)) == []
    assert list(schedule.due(5000)) == [b"a", b"b"]
    assert list(schedule.due(9000)) == []
    schedule.changed(b"a", 9000)
    assert list(schedule.due(10_000)) == [b"a"]
    never = Schedule(None)
    never.changed(b"a", 0)
    assert list(never.due(10**15)) == []


def test_an_agent_that_hangs_gets_its_checkpoint_and_only_one() -> None:
    """It changes, and then nothing more comes: an interval later its moment is kept."""
    rig, author = PolicyRig(CheckpointPolicy(interval=SECOND)), Author("a")
    rig.say(author, author.claim(), author.say("1"))
    rig.pass_ms(999)
    assert rig.checkpoints == []
    rig.pass_ms(1)
    assert rig.checkpoints == [("automatic-1", 1)]
    rig.pass_ms(100_000)
    assert rig.checkpoints == [("automatic-1", 1)]
    rig.say(author, author.say("2"), author.say("3"))
    rig.pass_ms(900)
    assert ("automatic-3", 3) in rig.checkpoints
    (kept,) = [c for c in map(decode_checkpoint, rig.store.checkpoints.values()) if c.version == 3]
    assert (kept.hash, kept.session_id, kept.type) == (author.hash, "s-1", "automatic")


def test_whoever_takes_over_goes_on_with_the_schedule() -> None:
    """Agents that had changed since their last checkpoint get one; the others do not."""
    rig = PolicyRig(CheckpointPolicy(interval=SECOND))
    idle, due = Author("idle"), Author("due")
    rig.say(idle, idle.claim(), idle.say("1"))
    rig.pass_ms(1000)
    rig.say(due, due.claim(), due.say("1"))
    rig.restart()
    rig.pass_ms(500)
    assert rig.checkpoints == [("automatic-1", 1)]
    rig.pass_ms(500)
    ids = sorted(key.split(b"\0")[0] for key in rig.store.checkpoints)
    assert ids == [b"due", b"idle"]
    rig.restart()
    rig.pass_ms(5000)
    assert len(rig.store.checkpoints) == 2


def test_a_broken_index_entry_does_not_stop_the_others_reminders() -> None:
    """It is passed over; only an event of that agent itself cannot be decided."""
    rig, author = PolicyRig(CheckpointPolicy(interval=SECOND)), Author("a")
    rig.say(author, author.claim(), author.say("1"))
    rig.store.index[b"broken"] = b"rubbish"
    rig.restart()
    rig.pass_ms(1000)
    assert rig.checkpoints == [("automatic-1", 1)]


def test_a_deleted_agent_is_not_kept_by_the_clock() -> None:
    """There is no state to keep."""
    rig, author = PolicyRig(CheckpointPolicy(interval=SECOND)), Author("a")
    rig.say(author, author.claim(), author.say("1"), author.raw("DELETE"))
    rig.pass_ms(5000)
    assert rig.checkpoints == []


def test_a_manual_checkpoint_takes_the_place_of_the_one_that_was_due() -> None:
    """What is kept already is not kept again."""
    rig, author = PolicyRig(CheckpointPolicy(interval=SECOND)), Author("a")
    note = encode_note(Note(id="m", type="manual"))
    rig.say(author, author.claim(), author.say("1"), author.raw("CHECKPOINT", note))
    rig.pass_ms(5000)
    assert rig.checkpoints == [("m", 1)]
    rig.say(author, author.raw("CHECKPOINT", encode_note(Forget(forget="m"))))
    assert rig.checkpoints == []


def test_milestones_are_kept_at_the_very_change_that_reaches_them() -> None:
    """Though it is one of many in a batch, and though changes take the fast way."""
    rig, author = PolicyRig(CheckpointPolicy(trigger="step", every_steps=5)), Author("a")
    values = [author.claim(), author.change(*STARTS)]
    hashes = {}
    for step in range(1, 13):
        values.append(author.change((SET, ["step"], step)))
        hashes[step] = author.hash
    rig.say(author, *values)
    assert rig.checkpoints == [("milestone-11", 11), ("milestone-6", 6)]
    found = {c.version: c for c in map(decode_checkpoint, rig.store.checkpoints.values())}
    assert (found[6].hash, found[11].hash) == (hashes[5], hashes[10])


@pytest.mark.parametrize("fail_at", ["begin", "settle", "commit"])
def test_a_commit_that_fails_leaves_no_checkpoint_and_loses_none(fail_at: str) -> None:
    """Checkpoints and the index that remembers them are written together or not at all."""
    rig, author = PolicyRig(CheckpointPolicy(interval=SECOND)), Author("a")
    rig.say(author, author.claim(), author.say("1"))
    rig.store.fail_at = fail_at
    with pytest.raises(Failure):
        rig.pass_ms(1000)
    assert rig.checkpoints == []
    rig.restart()
    rig.pass_ms(0)
    assert rig.checkpoints == [("automatic-1", 1)]
    entry = decode_entry(rig.store.index[b"a"])
    assert (entry.checkpoint_version, entry.checkpoint_at) == (1, rig.now_ms)


def test_off_means_off() -> None:
    """Neither time nor changes make one; what is asked for is kept all the same."""
    rig, author = PolicyRig(OFF), Author("a")
    rig.say(author, author.claim(), author.change(*STARTS, STATUS, STEP_20))
    rig.pass_ms(10**9)
    assert rig.checkpoints == []
    rig.say(author, author.raw("CHECKPOINT", encode_note(Note(id="m", type="manual"))))
    (kept,) = map(decode_checkpoint, rig.store.checkpoints.values())
    assert isinstance(kept, Checkpoint)
    assert isinstance(rig.store, MemoryStore)
