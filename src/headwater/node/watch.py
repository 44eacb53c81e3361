"""The node's control thread: deadlines, a blocked event loop, the lease; and who claims anew.

It does nothing that can block. Where it does not get its turn for half a lease, the node's
heartbeats stop: a process that cannot obey any more must not keep its agents.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from headwater.agent.lease import Lease
from headwater.clock import suspended_clock
from headwater.errors import SessionClosed
from headwater.node.fencing import Fence
from headwater.node.host import Host, Taken
from headwater.node.slot import Life, Slot

log = logging.getLogger("headwater.node")

_TICK_S = 0.02
_BLOCKED_S = 0.25
_CLAIM_EVERY_S = 0.1
_AWAY_S = 0.2
_KICK_EVERY_S = 1.0


class Watch:
    """Looks after all that must happen in time. ``ticks`` are called a few times a second."""

    def __init__(
        self, host: Host, lease: Lease, fence: Fence, ticks: Iterable[Callable[[], None]]
    ) -> None:
        self._host = host
        self._fence = fence
        self._ticks = tuple(ticks)
        self._stall_s = lease.lease_ms / 2000
        self._looked_s = self._kicked_s = suspended_clock()
        self._patience_s = min(
            (k.deadline_s for k in host.kinds.values() if k.is_async), default=float("inf")
        )

    def may_beat(self) -> bool:
        """Whether this thread gets its turn."""
        return suspended_clock() - self._looked_s < self._stall_s

    @property
    def late_s(self) -> float:
        """How long ago it had its turn."""
        return suspended_clock() - self._looked_s

    def run(self, stop: threading.Event) -> None:
        """Look, again and again."""
        while not stop.is_set():
            self._fence.look()
            self._look_at_clock()
            self._look_at_loop()
            self._look_at_steps()
            for tick in self._ticks:
                tick()
            left_s = self._fence.left_s
            stop.wait(min(_TICK_S, left_s) if left_s > 0 else _TICK_S)

    def _look_at_clock(self) -> None:
        """A process that was stopped, or starved, must not blame its steps for it."""
        now_s = suspended_clock()
        away_s, self._looked_s = now_s - self._looked_s, now_s
        if away_s > _AWAY_S:
            level = logging.WARNING if away_s > self._stall_s else logging.DEBUG
            log.log(level, "the node had no turn for %.2f s", away_s)
            self._host.loops.loop.excuse(away_s)
            for slot in list(self._host.slots.values()):
                slot.excuse(away_s)

    def _look_at_steps(self) -> None:
        now_s = suspended_clock()
        # Rarely: a loop that has too much to do must not be woken for each of its agents.
        kick = now_s >= self._kicked_s + _KICK_EVERY_S
        self._kicked_s = now_s if kick else self._kicked_s
        for slot in list(self._host.slots.values()):
            if not slot.overdue(now_s):
                if kick and slot.overlooked(now_s):
                    self._host.kick(slot)
                continue
            if slot.kind.is_async and self._host.loops.loop.late_s > _BLOCKED_S:
                self._replace_loop()
            if slot.overdue(now_s):  # still: it may have been held up by another one
                self._host.overdue(slot)

    def _look_at_loop(self) -> None:
        if self._host.loops.loop.late_s > max(_BLOCKED_S, self._patience_s):
            self._replace_loop()

    def _replace_loop(self) -> None:
        """Where one step blocks the event loop for longer than others may take, those go on
        without it, on another loop; that it was held up is no fault of theirs.
        """
        loops = self._host.loops
        task = loops.loop.blocker()
        stuck = [s for s in list(self._host.slots.values()) if s.kind.is_async]
        blocker, others = split(stuck, task)
        name = f"agent {blocker.agent_id!r}" if blocker is not None else "something"
        log.error("%s has blocked the event loop for %.1f s", name, loops.loop.late_s)
        loops.replace(blocker.life if blocker is not None else None)
        self._host.posts.audit(
            "loop.replaced",
            f"agent:{blocker.agent_id}" if blocker is not None else "",
            message=f"{name} blocks the event loop; the others go on without it",
        )
        for slot in others:
            if slot.stepping:
                why = f"agent {slot.agent_id!r}: another agent blocked the event loop"
                self._host.interrupt(slot, SessionClosed(why))
            else:
                self._host.kick(slot)


def split(slots: Iterable[Slot], task: object) -> tuple[Slot | None, list[Slot]]:
    """The slot whose step ``task`` is, and all others."""
    blocker: Slot | None = None
    others = []
    for slot in slots:
        life: Life | None = slot.life
        if task is not None and life is not None and life.task is task:
            blocker = slot
        else:
            others.append(slot)
    return blocker, others


class Reclaimer:
    """Claims agents anew whose step failed, once they have rested."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._woken = threading.Event()
        self._fenced_ms: int | None = None

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    def resumed(self, fenced_ms: int) -> None:
        """The lease holds again, after so long."""
        self._fenced_ms = fenced_ms
        self._woken.set()

    def run(self, stop: threading.Event) -> None:
        """Look, again and again; what goes wrong is tried again by the slots' own rests."""
        while not stop.is_set():
            self._woken.wait(_CLAIM_EVERY_S)
            self._woken.clear()
            if self._host.fenced:
                continue
            now_s = suspended_clock()
            due = [s for s in list(self._host.slots.values()) if s.unclaimed(now_s)]
            fenced_ms, self._fenced_ms = self._fenced_ms, None
            taken = list(self._host.reclaim(due)) if due else []
            for each in taken:
                log.debug("agent %s goes on: %s", each.agent_id, each.error or "claimed anew")
            if taken:
                log.info("%d agents were claimed anew", sum(t.slot is not None for t in taken))
            if fenced_ms is not None:
                self._tell(taken, fenced_ms)

    def _tell(self, taken: list[Taken], fenced_ms: int) -> None:
        slots = self._host.slots
        lost = {each.agent_id: each.error for each in taken if each.agent_id not in slots}
        self._host.posts.audit(
            "node.resumed",
            message=f"its lease holds again; {len(slots)} agents are its own, {len(lost)} no more",
            fenced_ms=fenced_ms,
            agents=len(slots),
            lost=dict(list(lost.items())[:100]),
        )
