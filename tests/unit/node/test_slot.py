"""When a step may begin, what becomes of one that is abandoned, and who waits for whom."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from headwater.fleet.records import AgentMode
from headwater.node.hosted import HostedAgent, kind_of
from headwater.node.slot import NEVER, Life, Slot, back_off_s


class Worker(HostedAgent):
    deadline = timedelta(seconds=5)

    def step(self, agent: Any) -> None:
        """Nothing."""


class FakeSession:
    """What a slot looks at."""

    def __init__(self, epoch: int = 1, version: int = 0) -> None:
        self.epoch, self.version, self.size_bytes = epoch, version, 100


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def slot(clock: Hands) -> Slot:
    return Slot("a", kind_of(Worker), clock)


def alive(slot: Slot, **session: int) -> Life:
    """Give the slot a life, as a claim does."""
    life = Life(FakeSession(**session), Worker(), None)  # type: ignore[arg-type]
    assert slot.adopt(life)
    return life


def test_a_step_begins_once(slot: Slot) -> None:
    """While a step is under way nobody else begins one."""
    life = alive(slot)
    assert slot.begin(life) == 0
    assert slot.begin(life) == NEVER
    assert slot.stepping


def test_the_next_step_waits_for_its_pause(slot: Slot, clock: Hands) -> None:
    """A step is due once the pause that the one before asked for is over."""
    life = alive(slot)
    slot.begin(life)
    clock.now_s += 2
    assert slot.finish(life, 3.0) == 2
    assert slot.begin(life) == 3
    clock.now_s += 3
    assert slot.begin(life) == 0
    assert slot.steps == 1


def test_a_throttle_bounds_steps_and_does_not_hasten_them(slot: Slot, clock: Hands) -> None:
    """Steps begin at least a gap apart; a longer pause stays what it was."""
    life = alive(slot)
    slot.throttle(0.5)
    slot.begin(life)
    slot.finish(life, 0.0)
    assert slot.begin(life) == 2
    slot.throttle(0)
    assert slot.begin(life) == 0
    slot.finish(life, 7.0)
    slot.throttle(100)
    assert slot.begin(life) == 7


def test_nothing_of_an_abandoned_life_counts(slot: Slot, clock: Hands) -> None:
    """A step that ends after its life was abandoned changes nothing, even if another has begun."""
    old = alive(slot, epoch=1)
    slot.begin(old)
    assert slot.abandon(error="too long") is old
    assert old.interrupted
    assert slot.mode is AgentMode.BACKING_OFF
    assert slot.finish(old, 0.0) is None
    assert slot.begin(old) == NEVER
    new = alive(slot, epoch=2)
    clock.now_s += 1
    assert slot.begin(new) == 0
    assert slot.finish(old, None) is None
    assert slot.stepping and not slot.done
    assert (slot.epoch, slot.restarts, slot.steps) == (2, 1, 0)


def test_an_agent_that_was_stopped_without_fault_keeps_its_pause(slot: Slot, clock: Hands) -> None:
    """It is claimed anew at once; only a step that was cut short is done again at once, too."""
    life = alive(slot)
    slot.begin(life)
    slot.finish(life, 10.0)
    assert slot.abandon() is life
    assert slot.unclaimed(clock.now_s)
    life = alive(slot)
    assert slot.begin(life) == 10
    clock.now_s += 10
    assert slot.begin(life) == 0
    slot.abandon()
    assert slot.unclaimed(clock.now_s)
    assert slot.begin(alive(slot)) == 0


def test_back_off_doubles_and_ends_with_a_completed_step(slot: Slot, clock: Hands) -> None:
    """Half a second, twice as long each time, a minute at most; a completed step resets it."""
    assert [back_off_s(n) for n in (1, 2, 3, 8, 1000)] == [0.5, 1, 2, 60, 60]
    for expected in (0.5, 1.0, 2.0):
        life = alive(slot)
        slot.due_s = 0
        slot.begin(life)
        slot.abandon(error="raised")
        assert slot.due_s - clock.now_s == expected
        assert not slot.unclaimed(clock.now_s)
        clock.now_s += expected
        assert slot.unclaimed(clock.now_s)
    life = alive(slot)
    slot.begin(life)
    slot.finish(life, 0.0)
    assert (slot.restarts, slot.last_error, slot.mode) == (0, "", AgentMode.RUNNING)


def test_only_an_overdue_step_is_abandoned_for_that(slot: Slot, clock: Hands) -> None:
    """The watchdog looks without the lock: a step that has ended meanwhile is none of its."""
    life = alive(slot)
    slot.begin(life)
    clock.now_s += 4
    assert not slot.overdue(clock.now_s)
    clock.now_s += 2
    assert slot.overdue(clock.now_s)
    slot.finish(life, 0.0)
    slot.begin(life)
    assert slot.abandon(error="late", if_overdue=True) is None
    assert slot.life is life


@pytest.mark.parametrize("reason", ["paused", "read_only", "held", "gone"])
def test_what_keeps_steps_from_beginning(slot: Slot, reason: str) -> None:
    """Paused, read-only, held for a command, or given up."""
    life = alive(slot)
    if reason == "held":
        assert slot.hold(0)
    elif reason == "gone":
        slot.leave()
    else:
        slot.set(**{reason: True})
    assert slot.begin(life) == NEVER


def test_holding_waits_for_the_step_under_way(slot: Slot) -> None:
    """A command has the agent to itself once its step has ended; it is told if that takes long."""
    life = alive(slot)
    slot.begin(life)
    assert not slot.hold(0.01)
    slot.let_go()
    threading.Timer(0.05, lambda: slot.finish(life, 0.0)).start()
    assert slot.hold(5)
    assert slot.begin(life) == NEVER
    slot.let_go()
    assert slot.begin(life) == 0


def test_a_claim_is_made_by_one(slot: Slot) -> None:
    """Of several who want to claim an agent anew one does; what is given up is not adopted."""
    assert not slot.reopen()  # its first claim is still being made
    slot.not_opened()
    assert slot.reopen()
    assert not slot.reopen()
    slot.leave()
    assert not slot.adopt(Life(FakeSession(), Worker(), None))  # type: ignore[arg-type]


def test_an_agent_that_is_overlooked_is_found(slot: Slot, clock: Hands) -> None:
    """A step that could have begun a second ago and has not is looked for by the watchdog."""
    alive(slot)
    slot.due_s = clock.now_s
    assert not slot.overlooked(clock.now_s + 0.5)
    assert slot.overlooked(clock.now_s + 1.5)
    slot.set(paused=True)
    assert not slot.overlooked(clock.now_s + 1.5)


def test_what_is_known_outlives_the_session(slot: Slot) -> None:
    """Between two claims the last epoch and version are told."""
    alive(slot, epoch=4, version=17)
    slot.abandon()
    assert slot.position() == (4, 17, 100)


def test_a_process_that_was_away_does_not_blame_its_steps(slot: Slot, clock: Hands) -> None:
    """Time in which nothing ran at all is not counted against a step's deadline."""
    life = alive(slot)
    slot.excuse(100)
    slot.begin(life)
    clock.now_s += 8
    slot.excuse(4)
    assert not slot.overdue(clock.now_s)
    assert slot.finish(life, 0.0) == 4
