"""The agents of a node: takes them over, has them driven, and deals with how steps end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from headwater.agent.hearing import Hearing
from headwater.agent.session import Session
from headwater.aio import AsyncSession
from headwater.client import Client
from headwater.clock import suspended_clock
from headwater.errors import AgentOwned, Fenced, HeadwaterError, SessionClosed, Unavailable
from headwater.fleet.records import NodeMode, RouteStatus
from headwater.node.chores import Chores
from headwater.node.hosted import DONE, Kind
from headwater.node.loop import LoopDriver
from headwater.node.posts import Posts
from headwater.node.slot import Life, Slot
from headwater.node.threads import ThreadDriver
from headwater.recovery import Recovered

log = logging.getLogger("headwater.node")

_ONE_BY_ONE = 100
_BREATH, _BREATH_S, _LOOK_S = 25, 0.3, 0.01


class StepTimeout(SessionClosed):
    """A step took longer than its deadline; what it still does counts for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of one agent that was to be taken over."""

    agent_id: str
    slot: Slot | None = None
    error: str = ""


class Host:
    """All agents of this process. Safe for any thread."""

    def __init__(
        self,
        client: Client,
        kinds: Mapping[str, Kind],
        posts: Posts,
        hearing: Hearing,
        chores: Chores,
        *,
        threads: int = 32,
        max_agents: int = 0,
    ) -> None:
        self.client = client
        self.kinds = kinds
        self.posts = posts
        self.fenced = self.draining = self.read_only = False
        self.max_agents = max_agents
        self.gap_s = 0.0
        self.slots: dict[str, Slot] = {}
        self.gone: list[Slot] = []
        self.changed: set[Slot] = set()
        self.stepped: set[Slot] = set()
        self.replicas: Callable[[Iterable[str]], Mapping[str, Recovered]] = lambda _: {}
        self.routed: Callable[[str], bool] = lambda _: False
        self.strained: Callable[[], bool] = lambda: False
        self._hearing = hearing
        self._chores = chores
        self._lock = threading.Lock()
        self.loops = LoopDriver(self._finished)
        self.threads = ThreadDriver(self._finished, threads)

    @property
    def mode(self) -> NodeMode:
        """What the node does with its agents."""
        if self.fenced:
            return NodeMode.FENCED
        if self.draining:
            return NodeMode.DRAINING
        return NodeMode.READ_ONLY if self.read_only else NodeMode.RUNNING

    def driver(self, slot: Slot) -> LoopDriver | ThreadDriver:
        """What drives a slot's steps."""
        return self.loops if slot.kind.is_async else self.threads

    def kick(self, slot: Slot) -> None:
        """See whether a step is due, after something has changed."""
        self.changed.add(slot)
        life = slot.life
        if life is not None:
            self.driver(slot).look(slot, life)

    # Taking over and giving up.

    def take(
        self,
        agents: Mapping[str, Kind],
        timeout_s: float,
        *,
        paused: Iterable[str] = (),
        reason: str = "",
    ) -> Iterator[Taken]:
        """Take agents over and drive them; each is told as it comes. Those that the node has
        already are just told.
        """
        still = frozenset(paused)
        fresh: dict[str, Slot] = {}
        known: list[Slot] = []
        with self._lock:
            for agent_id, kind in agents.items():
                if (slot := self.slots.get(agent_id)) is not None:
                    known.append(slot)
                    continue
                slot = self.slots[agent_id] = fresh[agent_id] = Slot(agent_id, kind)
                slot.gap_s = self.gap_s
                slot.set(paused=agent_id in still, read_only=self.read_only)
        yield from self._open(fresh, timeout_s, ours=False, reason=reason)
        for slot in known:
            if slot.await_open(timeout_s):
                yield Taken(agent_id=slot.agent_id, slot=slot)
            else:
                yield Taken(agent_id=slot.agent_id, error="it could not be claimed")

    def reclaim(self, slots: Iterable[Slot]) -> Iterator[Taken]:
        """Claim agents anew whose life was abandoned: those that are still this process's."""
        mine = {slot.agent_id: slot for slot in slots if slot.reopen()}
        yield from self._open(mine, _ONE_BY_ONE, ours=True, reason="")

    def _open(
        self, slots: dict[str, Slot], timeout_s: float, *, ours: bool, reason: str
    ) -> Iterator[Taken]:
        if not slots:
            return
        left = dict(slots)
        try:
            opened = self.client.open_many(
                list(slots),
                timeout=timedelta(seconds=timeout_s),
                replicas=self.replicas(slots),
                hearing=self._hearing,
                ours=ours,
            )
            for number, each in enumerate(opened, 1):
                slot = left.pop(each.agent_id)
                if each.session is None:
                    assert each.error is not None
                    yield self._not_taken(slot, each.error, again=ours)
                else:
                    yield self._adopt(slot, each.session, reason)
                if number % _BREATH == 0:
                    self._breathe()
        except HeadwaterError as error:
            log.warning("%d agents could not be claimed: %s", len(left), error)
            for slot in left.values():
                yield self._not_taken(slot, error, again=ours)
            left.clear()
        finally:
            for slot in left.values():  # whoever asked wants to hear no more
                self._not_taken(slot, SessionClosed("given up"), again=ours)

    def _breathe(self) -> None:
        """Wait for a while if there is too much to do for the heartbeats: many agents that begin at
        once could cost the node its lease, and with it all of them again and again.
        """
        deadline_s = suspended_clock() + _BREATH_S
        while self.strained() and suspended_clock() < deadline_s:
            time.sleep(_LOOK_S)

    def _adopt(self, slot: Slot, session: Session, reason: str) -> Taken:
        try:
            agent = slot.kind.cls()
        except Exception as error:  # whatever the user's class trips over
            log.warning("agent %s cannot be made", slot.agent_id, exc_info=True)
            return self._not_made(slot, session, f"{type(error).__name__}: {error}")
        life = Life(session, agent, AsyncSession(session) if slot.kind.is_async else session)
        if not slot.adopt(life):
            self._chores.do(session.release)
            return Taken(agent_id=slot.agent_id, error="it was given up meanwhile")
        if self.fenced:
            # It is this node's by the log, and goes on here as soon as the lease holds again:
            # whoever asked must not have it moved meanwhile.
            self.interrupt(slot, SessionClosed("the node's lease ran out"))
        else:
            self.kick(slot)
        self.posts.route(slot, RouteStatus.PAUSED if slot.paused else RouteStatus.RUNNING, reason)
        return Taken(agent_id=slot.agent_id, slot=slot)

    def _not_made(self, slot: Slot, session: Session, error: str) -> Taken:
        session.disown(SessionClosed(error))
        slot.rest(error, failed=True)
        slot.not_opened()
        self.changed.add(slot)
        self.posts.restarted(slot, error)
        return Taken(agent_id=slot.agent_id, error=error)

    def _not_taken(self, slot: Slot, error: HeadwaterError, *, again: bool) -> Taken:
        # A leader that has just been elected may give an end of the log that lies before one's own
        # claim: whose it was then says nothing.
        if again and not (isinstance(error, AgentOwned) and error.epoch >= slot.epoch):
            slot.rest(str(error))
            slot.not_opened()
            self.changed.add(slot)
        else:
            if again:
                log.warning("agent %s went elsewhere: %s", slot.agent_id, error)
            self.drop(slot)
            slot.not_opened()
            if again and not self.draining:
                self._chores.do(lambda: self._orphan(slot))
        return Taken(agent_id=slot.agent_id, error=str(error))

    def _orphan(self, slot: Slot) -> None:
        """An agent that is not this process's any more, and nobody else's either, although its
        route still leads here: a release that was in doubt. It is taken again.
        """
        head = self.client._recovery.look(slot.agent_id).head
        if head.owned or not self.routed(slot.agent_id):
            return
        paused = [slot.agent_id] if slot.paused else []
        for taken in self.take({slot.agent_id: slot.kind}, _ONE_BY_ONE, paused=paused):
            log.info("agent %s was nobody's: %s", taken.agent_id, taken.error or "taken again")

    def drop(self, slot: Slot) -> None:
        """The node does not have the agent any more."""
        slot.leave()
        with self._lock:
            if self.slots.get(slot.agent_id) is slot:
                del self.slots[slot.agent_id]
                self.gone.append(slot)
        self.changed.discard(slot)

    def give_up(self, slot: Slot, grace_s: float, status: RouteStatus | None, reason: str) -> None:
        """Release an agent, once its step has ended or ``grace_s`` are over; ``status`` becomes
        its route's. Raises what the release raises; the agent is then still the node's.
        """
        with self.held(slot, grace_s) as ended:
            if not ended:
                self.interrupt(slot, SessionClosed(f"agent {slot.agent_id!r}: it was given up"))
            if slot.life is None and slot.opening:
                self.drop(slot)  # whose claim, if it is won, is given up at once
                return
            self._release(slot)
            if status is not None:
                self.posts.route(slot, status, reason)
            self.drop(slot)

    @contextmanager
    def held(self, slot: Slot, timeout_s: float) -> Iterator[bool]:
        """No step begins within the block; whether the one under way has ended in time."""
        try:
            yield slot.hold(timeout_s)
        finally:
            slot.let_go()
            if not slot.gone:
                self.kick(slot)

    def _release(self, slot: Slot) -> None:
        life = slot.life
        if life is None or life.session.ended:
            # Abandoned: nobody else can have it before the lease is out, so it is claimed anew.
            slot.abandon()
            for taken in self.reclaim([slot]):
                if taken.error:
                    raise Unavailable(f"agent {slot.agent_id!r}: {taken.error}")
            life = slot.life
        if life is None:
            raise Unavailable(f"agent {slot.agent_id!r} is being claimed; try again")
        try:
            life.session.release()
        except Fenced:
            log.warning("agent %s had gone elsewhere", slot.agent_id)

    # How steps end.

    def interrupt(self, slot: Slot, error: HeadwaterError, failed: str | None = None) -> bool:
        """Abandon the agent's present claim and, with it, a step that is under way; with
        ``failed`` it counts as a failed step. Whether there was anything to abandon.
        """
        life = slot.abandon(error=failed)
        if life is None:
            return False
        self._end([(slot, life)], error)
        return True

    def interrupt_all(self, error: HeadwaterError) -> list[Session]:
        """Abandon the claims of all agents, quickly; the sessions that they had."""
        ended = [(s, life) for s in list(self.slots.values()) if (life := s.abandon()) is not None]
        self._end(ended, error)
        return [life.session for _, life in ended]

    def _end(self, ended: Collection[tuple[Slot, Life]], error: HeadwaterError) -> None:
        """Let nothing of abandoned lives count any more."""
        for _, life in ended:
            life.session.disown(error)
        for driver in (self.loops, self.threads):
            driver.cancel(*(e for s, e in ended if e.interrupted and self.driver(s) is driver))
        self.changed.update(slot for slot, _ in ended)

    def overdue(self, slot: Slot) -> None:
        """A step takes longer than it may: it is abandoned, and the agent goes on without it."""
        text = f"a step took longer than {slot.kind.deadline_s:g} s"
        life = slot.abandon(error=text, if_overdue=True)
        if life is None:
            return
        self._end([(slot, life)], StepTimeout(f"agent {slot.agent_id!r}: {text}"))
        slot.kind.tally.timed_out()
        log.warning("agent %s: %s; it is abandoned", slot.agent_id, text)
        self.posts.restarted(slot, text)

    def _finished(self, slot: Slot, life: Life, result: Any, problem: BaseException | None) -> bool:
        """A step ended, in its own thread; whether its driver is to look for the next."""
        try:
            return self._conclude(slot, life, result, problem)
        except Exception:
            # Its step now lasts until the deadline, and is abandoned then.
            log.exception("agent %s: how its step ended was not understood", slot.agent_id)
            return False

    def _conclude(self, slot: Slot, life: Life, result: Any, problem: BaseException | None) -> bool:
        if problem is not None:
            self._failed(slot, life, problem)
            return False
        pause_s: float | None
        if result is None:
            pause_s = slot.kind.pause_s
        elif isinstance(result, timedelta):
            pause_s = max(0.0, result.total_seconds())
        elif result is DONE:
            pause_s = None
        else:
            what = TypeError(f"a step returned {result!r}: None, a timedelta, or headwater.DONE")
            self._failed(slot, life, what)
            return False
        took_s = slot.finish(life, pause_s)
        if took_s is None:
            return False
        slot.kind.tally.completed(took_s)
        self.stepped.add(slot)
        if pause_s is None:
            self._chores.do(lambda: self._retire(slot))
            return False
        return True

    def _retire(self, slot: Slot) -> None:
        self.give_up(slot, 0.0, RouteStatus.DONE, "")

    def _failed(self, slot: Slot, life: Life, problem: BaseException) -> None:
        text = f"{type(problem).__name__}: {problem}"
        if slot.abandon(life, text) is None:
            return
        slot.kind.tally.failed()
        self.changed.add(slot)
        life.session.disown(SessionClosed(f"agent {slot.agent_id!r}: its step failed"))
        if isinstance(problem, Fenced):
            log.warning("agent %s belongs to another process now: %s", slot.agent_id, problem)
            self.drop(slot)
            return
        log.warning("agent %s: its step failed: %s", slot.agent_id, text, exc_info=problem)
        self.posts.restarted(slot, text)
