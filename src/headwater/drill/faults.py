"""What the drills do to their victim, and when its agents count as recovered."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Mapping

from headwater.drill.model import (
    CORRUPTION,
    DISK_FULL,
    HANDLER_CRASH,
    NODE_FAILURE,
    PARTITION,
    SLOW_NODE,
)
from headwater.drill.shadow import FILL, SPOIL, free_disk, order
from headwater.drill.stage import Stage
from headwater.drill.steps import at_work_since
from headwater.fleet.feed import partitions_of
from headwater.fleet.records import NodeMode, RecoveryStatus
from headwater.local.process import Identity
from headwater.log.chain import partition_of

_STOPPED_S, _RUNNING_S = 0.6, 0.02
_GOOD = (RecoveryStatus.SUCCEEDED, RecoveryStatus.SKIPPED)
_ASSIGNED = re.compile(r"(assigned|revoked|lost): recovery\[([\d, ]*)\]")


class Stutter:
    """Stops a process again and again, each time for so long that its steps become few, and not so
    long that a lease of ``lease_s`` would run out.
    """

    def __init__(self, process: Identity, lease_s: float) -> None:
        self._process = process
        self._stopped_s = min(lease_s / 2, _STOPPED_S)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drill-stutter", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set() and self._process.signal(signal.SIGSTOP):
            self._stop.wait(self._stopped_s)
            self._process.signal(signal.SIGCONT)
            self._stop.wait(_RUNNING_S)

    def end(self) -> None:
        """Let it run as it likes."""
        self._stop.set()
        self._thread.join()
        self._process.signal(signal.SIGCONT)


class Fault:
    """One way in which the victim goes wrong: SIGKILL, unless a subclass says otherwise."""

    def prepare(self, stage: Stage) -> None:
        """Set the stage; agents come later."""
        stage.start_nodes()

    def inject(self, stage: Stage) -> str:
        """Bring it about; the component that a failure must name."""
        stage.identity(stage.victim).signal(signal.SIGKILL)
        return f"node:{stage.victim}"

    def detected(self, stage: Stage, failure_id: str) -> None:
        """What follows once it was detected."""

    def recovered(self, stage: Stage, since_s: float, failure_id: str) -> float | None:
        """When all agents were at work again, if they are; it was brought about at ``since_s``."""
        return at_work_since(stage.notes(), stage.agents, since_s, not_on=stage.victim)

    def check(self, stage: Stage, failure_id: str) -> list[str]:
        """What else must be true at the end and is not, in sentences."""
        return []

    def end(self, stage: Stage) -> None:
        """End it, whatever came of it."""


class Partition(Fault):
    """Nobody reaches the victim's endpoint, though the brokers do: it must change nothing until
    the link is mended.
    """

    def inject(self, stage: Stage) -> str:
        """Shut its gate."""
        stage.gates[stage.victim].shut()
        return f"partition:{stage.victim}"

    def detected(self, stage: Stage, failure_id: str) -> None:
        """Mend the link once the minority changes nothing any more."""
        self._froze = stage.watch.until(
            lambda: _mode(stage) is NodeMode.READ_ONLY, stage.config.timing.lease_ms / 200
        )
        stage.gates[stage.victim].open()

    def recovered(self, stage: Stage, since_s: float, failure_id: str) -> float | None:
        """Once it changes again what is its own."""
        ended_s = stage.watch.ended_s(failure_id)
        if ended_s is None or _mode(stage) is not NodeMode.RUNNING:
            return None
        return at_work_since(stage.notes(), stage.agents, since_s)

    def check(self, stage: Stage, failure_id: str) -> list[str]:
        """It must have been told to change nothing."""
        return [] if self._froze else ["the part that was cut off was not frozen"]

    def end(self, stage: Stage) -> None:
        """Mend the link."""
        if stage.victim in stage.gates:
            stage.gates[stage.victim].open()


class Corruption(Fault):
    """An agent gets a state that its transitions do not allow."""

    def inject(self, stage: Stage) -> str:
        """Order it."""
        order(stage.directory, stage.agents[0], SPOIL)
        return f"agent:{stage.agents[0]}"

    def recovered(self, stage: Stage, since_s: float, failure_id: str) -> float | None:
        """Once the strategy is done and the agents go on."""
        return _at_work_after(stage, failure_id)


class SlowNode(Fault):
    """The victim is stopped most of the time, until something has been done about it."""

    def __init__(self) -> None:
        self._stutter: Stutter | None = None

    def inject(self, stage: Stage) -> str:
        """Begin to stop it."""
        lease_s = stage.config.timing.lease.total_seconds()
        self._stutter = Stutter(stage.identity(stage.victim), lease_s)
        return f"node:{stage.victim}"

    def detected(self, stage: Stage, failure_id: str) -> None:
        """Let it run once the strategy has acted: no action makes a process run that is stopped."""
        stage.watch.await_action(failure_id)
        self.end(stage)

    def recovered(self, stage: Stage, since_s: float, failure_id: str) -> float | None:
        """Once the strategy is done and the agents go on."""
        return _at_work_after(stage, failure_id)

    def end(self, stage: Stage) -> None:
        """Let it run."""
        if self._stutter is not None:
            self._stutter.end()


class DiskFull(Fault):
    """The victim's disk, a small one, is full."""

    def prepare(self, stage: Stage) -> None:
        """Give it a small one."""
        stage.start_nodes(small_disk=True)

    def inject(self, stage: Stage) -> str:
        """Have it filled by the process that sees it."""
        order(stage.directory, stage.agents[0], FILL)
        return f"node:{stage.victim}"

    def detected(self, stage: Stage, failure_id: str) -> None:
        """Free it once the strategy has done something: agents alone do not make room."""
        stage.watch.await_action(failure_id)
        free_disk(stage.directory)

    def end(self, stage: Stage) -> None:
        """Free it."""
        free_disk(stage.directory)

    def recovered(self, stage: Stage, since_s: float, failure_id: str) -> float | None:
        """Once the strategy is done and the agents go on, wherever."""
        return _at_work_after(stage, failure_id)


class HandlerCrash(Fault):
    """The victim dies, and so does the handler of its failure, with a step begun and not taken."""

    def prepare(self, stage: Stage) -> None:
        """Start a handler that will die, and a victim of whose failures it is the handler."""
        self._name = f"drill-{stage.drill_id}-handler"
        crash = {"HEADWATER_CRASH_AT": "strategy.step_begun"}
        stage.spawn(self._name, ["-v", "heal"], **crash)
        stage.wait_for(lambda: bool(self._owned(stage)), "partition for the drill's handler")
        owned, count = self._owned(stage), partitions_of("recovery")
        names = (f"drill-{stage.drill_id}-b{n}" for n in range(1000))
        stage.victim = next(n for n in names if partition_of(f"node:{n}".encode(), count) in owned)
        stage.start_nodes()

    def _owned(self, stage: Stage) -> set[int]:
        owned: set[int] = set()
        for line in stage.said(self._name):
            if found := _ASSIGNED.search(line):
                numbers = {int(each) for each in found[2].split(",") if each.strip()}
                owned = owned | numbers if found[1] == "assigned" else owned - numbers
        return owned

    def recovered(self, stage: Stage, since_s: float, failure_id: str) -> float | None:
        """Once another handler has brought it to an end."""
        if stage.watch.ended_s(failure_id) is None:
            return None
        return super().recovered(stage, since_s, failure_id)

    def check(self, stage: Stage, failure_id: str) -> list[str]:
        """The drill's handler must have begun, and another one ended it."""
        handlers = stage.watch.handlers(failure_id)
        if not stage.ended(self._name):
            return ["the drill's handler did not come to die: another one was quicker"]
        if handlers[:1] != [self._name] or len(handlers) < 2:
            return [f"the failure was handled by {', '.join(handlers) or 'nobody'} alone"]
        return []


def _mode(stage: Stage) -> NodeMode | None:
    life = stage.watch.life(stage.victim)
    return None if life is None else life.mode


def _at_work_after(stage: Stage, failure_id: str) -> float | None:
    result, ended_s = stage.watch.result(failure_id), stage.watch.ended_s(failure_id)
    if result is None or ended_s is None or result.status not in _GOOD:
        return None
    return at_work_since(stage.notes(), stage.agents, ended_s)


FAULTS: Mapping[str, type[Fault]] = {
    NODE_FAILURE: Fault,
    PARTITION: Partition,
    CORRUPTION: Corruption,
    SLOW_NODE: SlowNode,
    DISK_FULL: DiskFull,
    HANDLER_CRASH: HandlerCrash,
}
"""How each drill is held on shadows."""

WARM_UP_S: Mapping[str, float] = {SLOW_NODE: 45.0}
"""How long the agents work first, where a detector needs to know what is usual."""
