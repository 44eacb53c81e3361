"""What each command means: one method for each kind."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

from headwater.agent.checkpoint import new_note
from headwater.agent.notes import Sent, send_notes
from headwater.clock import wall_ms
from headwater.errors import HeadwaterError, SessionClosed
from headwater.fleet.records import (
    AgentResult,
    Command,
    CommandAgent,
    CommandKind,
    NodeMode,
    Route,
    RouteStatus,
)
from headwater.log.notes import CheckpointType
from headwater.node.chores import Chores
from headwater.node.handover import Handover
from headwater.node.host import Host, Taken
from headwater.node.hosted import Kind
from headwater.node.orders import Answer
from headwater.node.slot import Slot
from headwater.recovery import Recovered
from headwater.state.model import state_hash

log = logging.getLogger("headwater.node")

_CLAIM_S = 30.0
_GRACE_S = 5.0
_VERIFY_S = 10.0
_LONGEST_S = 600.0
_FULL = 0.9

MOST_AGENTS = 5000
"""What one node takes, whatever it is told: a heartbeat lists them all."""


class Refused(HeadwaterError):
    """The node does not obey a command; the message says why."""


class Obey:
    """Obeys commands, each in a thread of its own; may block."""

    def __init__(
        self,
        host: Host,
        chores: Chores,
        handover: Handover,
        *,
        route: Callable[[str], Route | None],
        replica: Callable[[str], Recovered | None],
        memory_used: Callable[[], float],
        outlived: Callable[[Command], bool],
        wake: Callable[[], None],
        drain: Callable[[str], None],
    ) -> None:
        self._host = host
        self._chores = chores
        self._handover = handover
        self._route = route
        self._replica = replica
        self._memory_used = memory_used
        self._outlived = outlived
        self._wake = wake
        self._end = drain

    def __call__(self, command: Command, answer: Answer) -> None:
        """Obey, telling ``answer`` what becomes of each agent."""
        getattr(self, f"_{command.kind.value.lower()}")(command, answer)

    # Which agents.

    def _slots(self, command: Command, answer: Answer) -> list[Slot]:
        """The agents that a command is about; those that are not here are answered."""
        if not command.agents:
            return list(self._host.slots.values())
        found = []
        for each in command.agents:
            slot = self._host.slots.get(each.agent_id)
            if slot is None:
                answer.add(absent(each.agent_id))
            else:
                found.append(slot)
        return found

    def _each(
        self, slots: Iterable[Slot], answer: Answer, do: Callable[[Slot], AgentResult]
    ) -> None:
        """Do something with each agent, side by side, and answer for it."""

        def chore(slot: Slot) -> None:
            try:
                answer.add(do(slot))
            except HeadwaterError as error:
                answer.add(failed(slot.agent_id, str(error), slot))

        self._chores.do_all([lambda slot=slot: chore(slot) for slot in slots], _LONGEST_S)  # type: ignore[misc]

    # Taking agents over.

    def _start(self, command: Command, answer: Answer) -> None:
        self._willing()
        if self._outlived(command):
            raise Refused("the node crashed after it was told; tell it again, or another one")
        wanted: dict[str, Kind] = {}
        paused = names(command.arguments, "paused")
        free = self._room()
        for each in command.agents:
            route = self._route(each.agent_id)
            name = each.kind or (route.kind if route is not None else "")
            kind = self._host.kinds.get(name)
            forced = bool(command.arguments.get("force"))
            here = each.agent_id in self._host.slots
            if kind is None:
                answer.add(failed(each.agent_id, f"no agent of kind {name!r} runs on this node"))
            elif route is not None and route.status is RouteStatus.QUARANTINED and not forced:
                answer.add(failed(each.agent_id, f"it is quarantined: {route.reason}"))
            elif not here and free <= 0:
                answer.add(failed(each.agent_id, f"the node is full ({len(self._host.slots)})"))
            else:
                wanted[each.agent_id] = kind
                free -= not here
                if route is not None and route.status is RouteStatus.PAUSED:
                    paused.append(each.agent_id)
        if command.arguments.get("claim") == "steal":
            self._ask_for(wanted, command)
        timeout_s = number(command.arguments, "timeout_s", _CLAIM_S)
        for taken in self._host.take(wanted, timeout_s, paused=paused, reason=command.reason):
            answer.add(told(taken))

    def _ask_for(self, wanted: Iterable[str], command: Command) -> None:
        """Tell the nodes that have these agents to give them up, at once; their leases hold on, so
        that one which does not listen is waited for.
        """
        by_node: defaultdict[str, list[CommandAgent]] = defaultdict(list)
        for agent_id in wanted:
            route = self._route(agent_id)
            if route is not None and route.node_id != command.node_id:
                by_node[route.node_id].append(CommandAgent(agent_id=agent_id))
        for node_id, agents in by_node.items():
            self._host.posts.order(
                Command(
                    command_id=sha256(f"{command.command_id} {node_id}".encode()).hexdigest()[:32],
                    node_id=node_id,
                    kind=CommandKind.STOP,
                    agents=agents,
                    arguments={"handover": True, "grace_s": 0},
                    reason=f"node {command.node_id!r} is to run it: {command.reason}",
                    failure_id=command.failure_id,
                    issued_by=f"node:{command.node_id}",
                    issued_at=wall_ms(),
                )
            )

    def _willing(self) -> None:
        mode = self._host.mode
        if mode is not NodeMode.RUNNING:
            raise Refused(f"the node takes no agents: it is {mode.value}")
        if (used := self._memory_used()) > _FULL:
            raise Refused(f"the node takes no agents: {used:.0%} of its memory is in use")

    def _room(self) -> int:
        return (self._host.max_agents or MOST_AGENTS) - len(self._host.slots)

    # Giving them up.

    def _stop(self, command: Command, answer: Answer) -> None:
        handover = bool(command.arguments.get("handover"))
        status = None if handover else RouteStatus.STOPPED
        grace_s = number(command.arguments, "grace_s", _GRACE_S)

        def stop(slot: Slot) -> AgentResult:
            self._host.give_up(slot, grace_s, status, command.reason)
            return done(slot)

        self._each(self._slots(command, answer), answer, stop)

    def _migrate(self, command: Command, answer: Answer) -> None:
        target = str(command.arguments.get("target", ""))
        grace_s = number(command.arguments, "grace_s", _GRACE_S)
        slots = self._slots(command, answer)
        for result in self._handover.to(target, slots, grace_s, command):
            answer.add(result)

    def _drain(self, command: Command, answer: Answer) -> None:
        """All agents go to peers; the node ends, unless it is told to stay."""
        grace_s = number(command.arguments, "grace_s", _GRACE_S)
        self._host.draining = True
        for result in self._handover.away(list(self._host.slots.values()), grace_s, command):
            answer.add(result)
        if not command.arguments.get("stay"):
            self._end(command.reason or f"told to by {command.issued_by}")

    # What steps may do.

    def _pause(self, command: Command, answer: Answer) -> None:
        for slot in self._slots(command, answer):
            slot.set(paused=True)
            self._host.kick(slot)
            self._host.posts.route(slot, RouteStatus.PAUSED, command.reason)
            answer.add(done(slot))

    def _resume(self, command: Command, answer: Answer) -> None:
        for slot in self._slots(command, answer):
            slot.set(paused=False)
            self._host.kick(slot)
            self._host.posts.route(slot, RouteStatus.RUNNING, command.reason)
            answer.add(done(slot))

    def _throttle(self, command: Command, answer: Answer) -> None:
        rate = number(command.arguments, "rate", 0.0)
        if not command.agents:
            self._host.gap_s = 1 / rate if rate > 0 else 0.0
        for slot in self._slots(command, answer):
            slot.throttle(rate)
            self._host.kick(slot)
            answer.add(done(slot))

    def _read_only(self, command: Command, answer: Answer) -> None:
        if not command.agents:
            self._host.read_only = True
        slots = self._slots(command, answer)
        for slot in slots:
            slot.set(read_only=True)
        for slot in slots:
            if slot.stepping:
                # What its step has not been told is acknowledged is not going to be.
                why = f"agent {slot.agent_id!r} is read-only: {command.reason}"
                self._host.interrupt(slot, SessionClosed(why))
            self._host.changed.add(slot)
            answer.add(done(slot))
        self._wake()

    def _read_write(self, command: Command, answer: Answer) -> None:
        if not command.agents:
            self._host.read_only = False
        for slot in self._slots(command, answer):
            slot.set(read_only=False)
            self._host.kick(slot)
            answer.add(done(slot))

    def _restart(self, command: Command, answer: Answer) -> None:
        slots = self._slots(command, answer)
        for slot in slots:
            why = f"agent {slot.agent_id!r} is restarted: {command.reason}"
            self._host.interrupt(slot, SessionClosed(why))
        left = {slot.agent_id: slot for slot in slots}
        for taken in self._host.reclaim(slots):
            del left[taken.agent_id]
            answer.add(told(taken))
        for slot in left.values():  # somebody else is claiming it anew
            if slot.await_open(_CLAIM_S):
                answer.add(done(slot))
            else:
                answer.add(failed(slot.agent_id, slot.last_error or "it is gone"))

    # Looking.

    def _checkpoint(self, command: Command, answer: Answer) -> None:
        type_ = str(command.arguments.get("type", CheckpointType.MANUAL.value))
        label = str(command.arguments.get("label", ""))
        slots = {slot.agent_id: slot for slot in self._slots(command, answer)}
        notes = [Sent(agent_id, new_note(type_, label, None)) for agent_id in slots]
        parts = self._host.client._parts
        send_notes(parts, notes, parts.config.send_timeout.total_seconds())
        for sent in notes:
            slot = slots[sent.agent_id]
            if sent.error is not None:
                answer.add(failed(sent.agent_id, str(sent.error), slot))
            else:
                answer.add(done(slot, checkpoint_id=getattr(sent.note, "id", "")))

    def _verify(self, command: Command, answer: Answer) -> None:
        slots = self._host.slots
        asked = [each.agent_id for each in command.agents] or list(slots)
        here = [slots[name] for name in asked if name in slots]
        others = [name for name in asked if name not in slots]
        timeout_s = number(command.arguments, "timeout_s", _VERIFY_S)
        for agent_id in others:
            replica = self._replica(agent_id)
            if replica is None:
                answer.add(absent(agent_id))
            else:
                digest = state_hash(agent_id, replica.agent.document).hex()
                answer.add(
                    AgentResult(
                        agent_id=agent_id,
                        ok=True,
                        epoch=replica.head.epoch,
                        version=replica.head.version,
                        detail={"state_hash": digest, "replica": True},
                    )
                )
        self._each(here, answer, lambda slot: verified(self._host, slot, timeout_s))


def verified(host: Host, slot: Slot, timeout_s: float) -> AgentResult:
    """Version and hash of an agent's state between two steps, all of it acknowledged."""
    with host.held(slot, timeout_s) as ended:
        if not ended:
            raise Refused(f"its step has not ended in {timeout_s:g} s")
        life = slot.life
        if life is None:
            raise Refused("it is being claimed anew")
        life.session.flush()
        document = life.session.copy().to_document()
        digest = state_hash(slot.agent_id, document)
        # Here: once the agent is let go, its next step makes another version.
        return done(slot, state_hash=digest.hex(), replica=False)


def done(slot: Slot, **detail: Any) -> AgentResult:
    """It was done."""
    return AgentResult(
        agent_id=slot.agent_id, ok=True, epoch=slot.epoch, version=slot.version, detail=detail
    )


def failed(agent_id: str, error: str, slot: Slot | None = None) -> AgentResult:
    """It was not done."""
    epoch, version = (slot.epoch, slot.version) if slot is not None else (0, 0)
    return AgentResult(agent_id=agent_id, ok=False, error=error, epoch=epoch, version=version)


def absent(agent_id: str) -> AgentResult:
    """It is not here, so whatever is not to happen to it here does not."""
    error = "it is not on this node"
    return AgentResult(agent_id=agent_id, ok=False, error=error, detail={"absent": True})


def told(taken: Taken) -> AgentResult:
    """What became of a takeover."""
    return done(taken.slot) if taken.slot is not None else failed(taken.agent_id, taken.error)


def names(arguments: Mapping[str, Any], name: str) -> list[str]:
    """An argument that is a list of agents."""
    value = arguments.get(name, [])
    if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise Refused(f"{name} must be a list of agent ids, not {value!r}")
    return list(value)


def number(arguments: Mapping[str, Any], name: str, default: float) -> float:
    """An argument that is a number and not below 0."""
    value = arguments.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise Refused(f"{name} must be a number and not below 0, not {value!r}")
    return float(value)
