"""What a strategy works with: the steps of its recovery, the fleet, commands, and time."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from headwater.client import Client
from headwater.clock import suspended_clock, wall_ms
from headwater.config import Config
from headwater.crash import crash_point
from headwater.errors import HeadwaterError, Unavailable
from headwater.fleet.feed import Sender
from headwater.fleet.records import (
    Command,
    CommandAgent,
    CommandKind,
    CommandReply,
    FailureEvent,
    Route,
    StepState,
)

from .journal import CLEARED, Journal, Unrecorded
from .world import World

Act = Callable[[dict[str, Any]], Mapping[str, Any] | None]
"""Takes a step: from what was recorded before it to what is recorded after it."""

STALL_S = 0.45
"""Who has not polled for that long may have lost its partitions: no session is shorter."""

_LOOK_S = 0.02
_EXPIRES_S = 60.0
# So many agents in one command: a record must stay far below what a message may hold.
_AGENTS_A_COMMAND = 2000


class HandedOver(Exception):
    """This handler is not the one to go on; the recovery stays as it is recorded."""


class Superseded(Exception):
    """Another failure of the component covers this one; the message says which."""


class Shared:
    """What all recoveries of a handler share. ``looked_s`` is when its main thread last knew that
    the handler has its partitions, on the clock that counts suspension.
    """

    def __init__(
        self, config: Config, sender: Sender, world: World, connect: Callable[[], Client]
    ) -> None:
        self.config = config
        self.sender = sender
        self.world = world
        self.looked_s = suspended_clock()
        self._connect = connect
        self._client: Client | None = None
        self._lock = threading.Lock()

    @property
    def client(self) -> Client:
        """A connection that may claim and read agents, made when it is first needed."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            if self._client is not None:
                self._client.close()


class Context:
    """One recovery, as its strategy sees it. Everything that waits raises :class:`HandedOver` once
    this handler is no longer the one to act.
    """

    def __init__(
        self,
        shared: Shared,
        failure: FailureEvent,
        journal: Journal,
        attempt: int,
        escalate: Callable[[str], None],
        *,
        after_person: bool = False,
    ) -> None:
        self.after_person = after_person
        self.failure = failure
        self.attempt = attempt
        self.journal = journal
        self.world = shared.world
        self.config = shared.config
        self._shared = shared
        self._escalate = escalate
        self._over = threading.Event()
        self._covered_by = ""
        self._cleared = threading.Event()
        if journal.step(CLEARED) is not None:
            self._cleared.set()

    @property
    def client(self) -> Client:
        """A connection that may claim and read agents."""
        return self._shared.client

    @property
    def lease_s(self) -> float:
        """The lease of the handler's profile, in seconds."""
        return self.config.timing.lease.total_seconds()

    @property
    def cleared(self) -> bool:
        """Whether the detector has said that the failure is over."""
        return self._cleared.is_set()

    def clear(self) -> None:
        """Note that the failure is over: for whoever reads the detectors' records."""
        self.journal.note(CLEARED, {"at": wall_ms()})
        self._cleared.set()
        self.world.wake()

    def hand_over(self) -> None:
        """Have the strategy end at its next step: for whoever owns the recovery."""
        self._over.set()
        self.world.wake()

    def supersede(self, covered_by: str) -> None:
        """Have the strategy end at its next step, since another failure covers this one."""
        self._covered_by = covered_by
        self.hand_over()

    def check(self) -> None:
        """Raises :class:`HandedOver` where somebody else goes on, and :class:`Superseded`.

        Waits where the process was stopped for so long that others may have taken over, until its
        main thread has asked.
        """
        while not self._over.is_set() and suspended_clock() - self._shared.looked_s > STALL_S:
            time.sleep(_LOOK_S)
        if not self._over.is_set():
            return
        if self._covered_by:
            raise Superseded(self._covered_by)
        raise HandedOver(self.failure.failure_id)

    # -- steps

    def step(self, name: str, act: Act, detail: Callable[[], Mapping[str, Any]] = dict) -> Any:
        """Take a step once, whoever begins it and however often: what it came to.

        ``detail()`` is asked, and recorded, before it is taken for the first time; ``act`` gets
        what was recorded then. It may be called again after a crash, so it must be idempotent:
        commands with ids that follow from the step are. ``name`` is the step's within the attempt.
        """
        full = self._full(name)
        known = self.journal.step(full)
        if known is not None and known.state is StepState.DONE:
            return known.detail
        self.check()
        resumed = known is not None and known.state is StepState.BEGUN
        begun = self.journal.begin(full, {} if resumed else detail())
        crash_point("strategy.step_begun")
        try:
            done = dict(act(begun.detail) or {})
        except Unrecorded:
            raise
        except HeadwaterError as error:
            self.journal.end(full, begun.detail, error=str(error) or repr(error))
            self.journal.settle()
            raise
        crash_point("strategy.step_taken")
        self.check()
        self.journal.end(full, done)
        return done

    def begun(self, name: str) -> bool:
        """Whether a step of this attempt was begun before."""
        return self.journal.step(self._full(name)) is not None

    def note(self, action: str, message: str, **detail: Any) -> None:
        """Write to the audit, under an action of the strategy's own."""
        self.journal.audit(action, message, detail)

    def measure(self, **metrics: float) -> None:
        """Add figures to the outcome; units belong into their names."""
        self.journal.update(metrics={**self.journal.result.metrics, **metrics})

    def escalate(self, message: str) -> None:
        """Tell a person now, and go on: for what only a person may be able to help with."""
        self._escalate(message)

    def _full(self, name: str) -> str:
        return f"{self.attempt}.{name}"

    # -- time

    def sleep(self, seconds: float) -> None:
        """Wait; no longer than until the failure clears."""
        self.wait_for(lambda: self.cleared, seconds)

    def wait_for(self, true: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until what was read of the fleet makes ``true`` so; what it says in the end."""
        found = self.world.wait_for(lambda: self._over.is_set() or true(), timeout_s)
        self.check()
        return found

    # -- nodes

    def command(
        self,
        node_id: str,
        kind: CommandKind,
        agents: Sequence[tuple[str, str]] = (),
        *,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        expires_in_s: float = _EXPIRES_S,
    ) -> list[Command]:
        """Commands to a node about agents (id and kind; none: all of the node), not sent yet.

        Their ids follow from failure, attempt, ``name``, node and agents: made again, they are the
        same commands, and obeyed once.
        """
        now = wall_ms()
        pieces = [
            list(agents[at : at + _AGENTS_A_COMMAND])
            for at in range(0, max(len(agents), 1), _AGENTS_A_COMMAND)
        ]
        return [
            Command(
                command_id=self._command_id(name, node_id, kind, piece),
                node_id=node_id,
                kind=kind,
                agents=[CommandAgent(agent_id=agent, kind=sort) for agent, sort in piece],
                arguments=dict(arguments or {}),
                reason=self.failure.description or self.failure.type,
                failure_id=self.failure.failure_id,
                issued_by=f"strategy:{self.config.node_id}",
                issued_at=now,
                expires_at=now + round(expires_in_s * 1000),
            )
            for piece in pieces
        ]

    def _command_id(
        self, name: str, node_id: str, kind: str, agents: Iterable[tuple[str, str]]
    ) -> str:
        parts = [self.failure.failure_id, self._full(name), node_id, kind]
        parts += [agent for agent, _ in agents]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def send(self, *commands: Command) -> None:
        """Send commands, and wait until they are in the log."""
        self.check()
        sents = [self._shared.sender.send("commands", c.node_id, c) for c in commands]
        self._shared.sender.settle(*sents)

    def ask(
        self,
        commands: Sequence[Command],
        timeout_s: float,
        enough: Callable[[], bool] = lambda: False,
    ) -> dict[str, list[CommandReply]]:
        """Send commands and wait for the final reply to each, for ``enough()``, or until time is
        over; the replies by command id.
        """
        self.send(*commands)
        self.wait_for(
            lambda: enough() or all(self.final(each) for each in commands),
            timeout_s,
        )
        return {each.command_id: self.world.replies(each.command_id) for each in commands}

    def final(self, command: Command) -> bool:
        """Whether a command was answered for good."""
        return any(reply.final for reply in self.world.replies(command.command_id))

    def publish_route(self, route: Route) -> None:
        """Write a route, and wait until it is in the log."""
        self.check()
        self._shared.sender.put("routes", route.agent_id, route)


class Answers:
    """What nodes answered to commands about agents, agent by agent."""

    def __init__(self, commands: Iterable[Command], replies: Mapping[str, Sequence[CommandReply]]):
        self.ok: dict[str, str] = {}
        self.errors: dict[str, str] = {}
        self.details: dict[str, dict[str, Any]] = {}
        for command in commands:
            self._take(command, replies.get(command.command_id, ()))

    def _take(self, command: Command, replies: Sequence[CommandReply]) -> None:
        refused = ""
        for reply in replies:
            refused = reply.error or refused
            for result in reply.results:
                if result.ok:
                    self.ok[result.agent_id] = reply.node_id
                    self.errors.pop(result.agent_id, None)
                else:
                    self.errors[result.agent_id] = result.error or "refused"
                self.details[result.agent_id] = {
                    "epoch": result.epoch, "version": result.version, **result.detail
                }  # fmt: skip
        if not any(reply.final for reply in replies):
            refused = refused or f"node {command.node_id} did not answer in time"
        for agent in command.agents:
            if agent.agent_id not in self.ok and agent.agent_id not in self.errors:
                self.errors[agent.agent_id] = (
                    refused or f"node {command.node_id} said nothing of it"
                )


def unanswered(commands: Sequence[Command], replies: Mapping[str, Sequence[CommandReply]]) -> str:
    """Why commands about whole nodes were not all obeyed; empty where they were."""
    told = []
    for command in commands:
        final = [reply for reply in replies.get(command.command_id, ()) if reply.final]
        if not final:
            told.append(f"node {command.node_id} did not answer in time")
        elif not final[-1].ok:
            told.append(f"node {command.node_id}: {final[-1].error or 'refused'}")
    return "; ".join(told)


def require(problem: str) -> None:
    """Raises :class:`Unavailable` for a problem."""
    if problem:
        raise Unavailable(problem)
