"""Directs the play: gives agents to workers, kills at the right moments, hands orphans over."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable
from dataclasses import dataclass, field

from headwater.demo.gauge import Gauge
from headwater.demo.plan import Plan
from headwater.demo.record import Seen
from headwater.demo.stage import Stage
from headwater.errors import TerminalError

STALLED_S = 45.0
"""Without news from any worker for so long, the demo gives up."""

VICTIM = 2
"""The worker that is killed."""

_KILL_WORKER_AT = 0.4
_KILL_COMPACTOR_AT = 0.15
_COMMITS_BEFORE_KILL = 2
_TICK_S = 0.05


class DemoFailed(TerminalError):
    """The demo could not be played to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """A SIGKILL: to whom, at which time.monotonic(), and in the middle of what.

    ``agents`` are those that it owned and had not finished, ``open_steps`` the steps ("agent step")
    that were begun and not acknowledged.
    """

    who: str
    worker: int = 0
    pid: int
    at_s: float
    agents: tuple[str, ...] = ()
    open_steps: tuple[str, ...] = ()


@dataclass(slots=True)
class Ledger:
    """What was seen: every event of every worker, and the kills."""

    seen: list[Seen] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)

    def kill_of(self, who: str) -> Kill | None:
        """The kill of a process by its name, if there was one."""
        return next((kill for kill in self.kills if kill.who == who), None)


class Director:
    """Plays the demo, once all is ready. ``say`` tells people, ``advance`` counts steps."""

    def __init__(
        self,
        stage: Stage,
        gauge: Gauge,
        plan: Plan,
        workers: dict[int, int],
        say: Callable[[str], None],
        advance: Callable[[int], None],
    ) -> None:
        self._stage = stage
        self._gauge = gauge
        self._pids = workers
        self._say = say
        self._advance = advance
        self._steps = {each.agent_id: len(each.steps) for each in plan.agents}
        self._unfinished = set(self._steps)
        self._owner: dict[str, int] = {}
        self._open: dict[str, str] = {}
        self._acked = dict.fromkeys(self._steps, 0)
        self._alive = set(workers)
        self._orphans: set[str] = set()
        self._reserve: str | None = None
        self._worker_kill: tuple[int, float] | None = None
        self.ledger = Ledger()
        self.compactor_pid = 0

    def play(self) -> Ledger:
        """From the first step to the last; raises :class:`DemoFailed` if that cannot be."""
        others = sorted(self._alive - {VICTIM})
        # The last agent waits until the compactor has been killed, so that work is left then.
        agents = list(self._steps)
        self._reserve = agents.pop() if len(agents) > 1 else None
        for agent_id, worker in zip(agents, itertools.cycle((VICTIM, *others)), strict=False):
            self._give(worker, agent_id)
        silent_s = 0.0
        while self._unfinished:
            try:
                seen = self._stage.events.get(timeout=_TICK_S)
            except queue.Empty:
                silent_s += _TICK_S
                if silent_s > STALLED_S:
                    raise DemoFailed(self._stalled()) from None
            else:
                silent_s = 0.0
                self._note(seen)
            self._maybe_kill_compactor()
        return self.ledger

    def _stalled(self) -> str:
        last = [f"worker-{n}: {self._stage.last_words(f'worker-{n}')}" for n in sorted(self._alive)]
        return "\n".join(
            [
                f"no worker has done anything for {STALLED_S:g} s; "
                f"{', '.join(sorted(self._unfinished))} are not finished",
                *last,
            ]
        )

    def _give(self, worker: int, agent_id: str) -> None:
        self._owner[agent_id] = worker
        self._stage.hand_over(worker, agent_id)

    def _note(self, seen: Seen) -> None:
        self.ledger.seen.append(seen)
        event, agent_id = seen.event, seen.event.agent
        match event.kind:
            case "begin":
                self._open[agent_id] = event.step
                self._maybe_kill_worker(seen.worker)
            case "ack":
                self._open.pop(agent_id, None)
                self._acked[agent_id] += 1
                self._advance(1)
                self._maybe_recovered(seen)
            case "finished":
                self._unfinished.discard(agent_id)
            case "failed":
                raise DemoFailed(f"worker-{seen.worker}, agent {agent_id}: {event.text}")
            case "gone":
                self._bury(seen.worker, event.text)
            case _:
                pass

    def _agents_of(self, worker: int) -> list[str]:
        return [agent for agent, owner in self._owner.items() if owner == worker]

    def _maybe_kill_worker(self, worker: int) -> None:
        if worker != VICTIM or self._worker_kill is not None:
            return
        agents = self._agents_of(worker)
        wanted = _KILL_WORKER_AT * sum(self._steps[agent] for agent in agents)
        if sum(self._acked[agent] for agent in agents) >= wanted:
            self._worker_kill = (worker, self._stage.kill_worker(worker))

    def _maybe_kill_compactor(self) -> None:
        if self.ledger.kill_of("compactor-1") is not None:
            return
        wanted = _KILL_COMPACTOR_AT * sum(self._steps.values())
        commits = self._gauge.commits("compactor-1")
        if sum(self._acked.values()) < wanted or commits < _COMMITS_BEFORE_KILL:
            return
        at_s = self._stage.kill_compactor()
        killed, self.compactor_pid = self.compactor_pid, self._stage.start_compactor()
        self.ledger.kills.append(Kill(who="compactor-1", pid=killed, at_s=at_s))
        self._say(
            f"SIGKILL to the compactor (process {killed}), which had committed {commits} times; "
            f"another one starts (process {self.compactor_pid})"
        )
        if self._reserve is not None:
            self._give(min(self._alive - {VICTIM}), self._reserve)

    def _bury(self, worker: int, status: str) -> None:
        """A worker is dead, and all that it had said has been read: others get its agents."""
        self._alive.discard(worker)
        orphans = [agent for agent in self._agents_of(worker) if agent in self._unfinished]
        if self._worker_kill is None or self._worker_kill[0] != worker:
            words = self._stage.last_words(f"worker-{worker}")
            raise DemoFailed(f"worker-{worker} ended by itself, with status {status}\n{words}")
        open_steps = [f"{agent} {self._open[agent]}" for agent in orphans if agent in self._open]
        kill = Kill(
            who=f"worker-{worker}",
            worker=worker,
            pid=self._pids[worker],
            at_s=self._worker_kill[1],
            agents=tuple(orphans),
            open_steps=tuple(open_steps),
        )
        self.ledger.kills.append(kill)
        self._orphans.update(orphans)
        self._say(
            f"SIGKILL to worker-{worker} (process {kill.pid}) in the middle of {len(open_steps)} "
            f"steps; its agents {', '.join(orphans)} go to the other workers"
        )
        heirs = sorted(self._alive)
        for i, agent_id in enumerate(orphans):
            self._open.pop(agent_id, None)
            self._give(heirs[i % len(heirs)], agent_id)

    def _maybe_recovered(self, seen: Seen) -> None:
        agent_id = seen.event.agent
        if agent_id in self._orphans and self._worker_kill is not None:
            self._orphans.discard(agent_id)
            after_ms = (seen.at_s - self._worker_kill[1]) * 1000
            self._say(
                f"{agent_id} goes on in worker-{seen.worker} with step {self._acked[agent_id]} of "
                f"{self._steps[agent_id]}, {after_ms:.0f} ms after the kill"
            )
