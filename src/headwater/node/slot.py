"""One agent on a node: its claim, the step under way, and when the next one is due.

Everything here is decided under the slot's lock and without I/O, so that any thread may ask:
a step's own, the watchdog's, a command's.
"""

from __future__ import annotations

import math
import threading
from typing import Any

from headwater.agent.session import Session
from headwater.clock import Clock, suspended_clock, wall_ms
from headwater.fleet.records import AgentMode
from headwater.node.hosted import HostedAgent, Kind

NEVER = math.inf

_FIRST_S = 0.5
_LONGEST_S = 60.0
_LONGEST_ERROR = 200
_OVERLOOKED_S = 1.0


def back_off_s(restarts: int) -> float:
    """How long an agent rests after so many failed steps in a row."""
    return float(min(_LONGEST_S, _FIRST_S * 2 ** min(max(0, restarts - 1), 16)))


class Life:
    """An agent between a claim and its end: its session, and the object whose steps are driven.

    Once a slot has another life, or none, whatever this one's step still does counts for nothing.
    ``interrupted``: it ended in the midst of a step.
    """

    __slots__ = ("agent", "handle", "interrupted", "session", "task", "timer")

    def __init__(self, session: Session, agent: HostedAgent, handle: Any) -> None:
        self.session = session
        self.agent = agent
        self.handle = handle
        self.interrupted = False
        self.task: Any = None
        self.timer: Any = None


class Slot:
    """An agent's place on its node."""

    __slots__ = (
        "_clock",
        "_lock",
        "_position",
        "agent_id",
        "claim_s",
        "done",
        "due_s",
        "gap_s",
        "gone",
        "held",
        "kind",
        "last_error",
        "life",
        "opening",
        "paused",
        "read_only",
        "restarts",
        "resting",
        "started_at",
        "started_s",
        "stepping",
        "steps",
    )  # fmt: skip

    def __init__(self, agent_id: str, kind: Kind, clock: Clock = suspended_clock) -> None:
        self.agent_id = agent_id
        self.kind = kind
        self._clock = clock
        self._lock = threading.Condition()
        self._position = (0, 0, 0)
        self.life: Life | None = None
        self.opening = True
        self.paused = self.read_only = self.resting = self.done = self.gone = False
        self.held = 0
        self.stepping = False
        self.started_s = 0.0
        self.started_at = 0
        self.due_s = 0.0
        self.claim_s = 0.0
        self.gap_s = 0.0
        self.steps = 0
        self.restarts = 0
        self.last_error = ""

    @property
    def mode(self) -> AgentMode:
        """What the node does with the agent."""
        if not (self.gone or self.done or self.read_only or self.paused or self.resting):
            return AgentMode.RUNNING
        if self.gone:
            return AgentMode.GONE
        if self.done:
            return AgentMode.DONE
        if self.read_only:
            return AgentMode.READ_ONLY
        return AgentMode.PAUSED if self.paused else AgentMode.BACKING_OFF

    def position(self) -> tuple[int, int, int]:
        """Epoch, version, and size of its state in bytes, as last known."""
        life = self.life
        if life is not None:
            session = life.session
            self._position = session.epoch, session.version, session.size_bytes
        return self._position

    @property
    def epoch(self) -> int:
        """The epoch in which the node owns it, as last known."""
        return self.position()[0]

    @property
    def version(self) -> int:
        """Version of its state, as last known."""
        return self.position()[1]

    def adopt(self, life: Life) -> bool:
        """Go on with a claim that was won. False: the agent was given up meanwhile."""
        with self._lock:
            self.opening = False
            self._lock.notify_all()
            if self.gone:
                return False
            self.life = life
            self.resting = False
            return True

    def reopen(self) -> bool:
        """Whether the agent is to be claimed anew, by the caller and nobody else."""
        with self._lock:
            if self.gone or self.opening or self.life is not None:
                return False
            self.opening = True
            return True

    def not_opened(self) -> None:
        """The claim that :meth:`reopen` announced came to nothing."""
        with self._lock:
            self.opening = False
            self._lock.notify_all()

    def rest(self, error: str, *, failed: bool = False) -> None:
        """No life could begin for now: rest for a while, the longer the oftener it ``failed``."""
        with self._lock:
            self.restarts += failed
            self.last_error = error[:_LONGEST_ERROR]
            self.resting = True
            self.due_s = self._clock() + (back_off_s(self.restarts) if failed else _FIRST_S)
            self.claim_s = self.due_s

    def unclaimed(self, now_s: float) -> bool:
        """Whether it is time to claim the agent anew."""
        return self.life is None and not self.opening and not self.gone and now_s >= self.claim_s

    def begin(self, life: Life) -> float:
        """Begin a step: 0 if it has begun, else the seconds to wait, :data:`NEVER` where it is
        for somebody else to say when.
        """
        with self._lock:
            idle = self.held or self.paused or self.read_only or self.done or self.gone
            if life is not self.life or self.stepping or idle:
                return NEVER
            now_s = self._clock()
            if (wait_s := max(self.due_s, self.started_s + self.gap_s) - now_s) > 0:
                return wait_s
            self.resting = False
            self.started_s = now_s
            self.started_at = wall_ms()
            self.stepping = True  # last: it is looked at without the lock, too
            return 0.0

    def finish(self, life: Life, pause_s: float | None) -> float | None:
        """A step came to its end, the next one is due after ``pause_s`` (None: there is none).

        The seconds that it took; None where it had been abandoned and counts for nothing.
        """
        with self._lock:
            if life is not self.life or not self.stepping:
                return None
            now_s = self._clock()
            took_s = now_s - self.started_s
            self.stepping, self.started_at = False, 0
            self.steps += 1
            self.restarts = 0
            self.last_error = ""
            if pause_s is None:
                self.done = True
            else:
                self.due_s = now_s + pause_s
            self._lock.notify_all()
            return took_s

    def overdue(self, now_s: float) -> bool:
        """Whether its step takes longer than it may."""
        return self.stepping and now_s - self.started_s > self.kind.deadline_s

    def excuse(self, seconds: float) -> None:
        """The whole process had no turn for so long: that is no fault of the step."""
        with self._lock:
            if self.stepping:
                self.started_s += seconds

    def overlooked(self, now_s: float) -> bool:
        """Whether a step could have begun long ago."""
        idle = self.held or self.paused or self.read_only or self.done or self.stepping
        due_s = max(self.due_s, self.started_s + self.gap_s)
        return not idle and self.life is not None and now_s > due_s + _OVERLOOKED_S

    def abandon(
        self, life: Life | None = None, error: str | None = None, *, if_overdue: bool = False
    ) -> Life | None:
        """End the present life, or only ``life`` if it is that, and return it.

        With ``error`` that counts as a failed step, after which the agent rests; else it may be
        claimed anew at once, and a step that was under way is done again then. ``if_overdue``: only
        if its step still takes longer than it may.
        """
        with self._lock:
            ended = self.life
            if ended is None or (life is not None and life is not ended):
                return None
            if if_overdue and not self.overdue(self._clock()):
                return None
            self.position()
            self.life = None
            ended.interrupted = self.stepping
            self.stepping, self.started_at = False, 0
            if error is not None:
                self.restarts += 1
                self.last_error = error[:_LONGEST_ERROR]
                self.resting = True
                self.due_s = self.claim_s = self._clock() + back_off_s(self.restarts)
            else:
                self.claim_s = 0.0
                if ended.interrupted:
                    self.due_s = 0.0
            self._lock.notify_all()
            return ended

    def hold(self, timeout_s: float) -> bool:
        """Let no further step begin, and wait until the one under way has ended, and a claim that
        is being made; False where that takes too long. Either way :meth:`let_go` is due.
        """
        with self._lock:
            self.held += 1
            return self._lock.wait_for(lambda: not (self.stepping or self.opening), timeout_s)

    def let_go(self) -> None:
        """The end of :meth:`hold`."""
        with self._lock:
            self.held -= 1

    def await_open(self, timeout_s: float) -> bool:
        """Wait until the claim that is being made has come to something; whether the agent is
        the node's.
        """
        with self._lock:
            settled = self._lock.wait_for(lambda: not self.opening, timeout_s)
            return settled and not self.gone

    def set(self, *, paused: bool | None = None, read_only: bool | None = None) -> None:
        """Tell it to do less, or more."""
        with self._lock:
            self.paused = self.paused if paused is None else paused
            self.read_only = self.read_only if read_only is None else read_only

    def throttle(self, steps_per_s: float) -> None:
        """At most so many steps a second; 0 for no bound."""
        with self._lock:
            self.gap_s = 1 / steps_per_s if steps_per_s > 0 else 0.0

    def leave(self) -> None:
        """The node no longer has it."""
        with self._lock:
            self.gone = True
            self._lock.notify_all()
