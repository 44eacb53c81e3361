"""Hands agents over to other nodes: given up here, and started there by commands."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from headwater.config import Config
from headwater.errors import HeadwaterError
from headwater.fleet.control import Control
from headwater.fleet.placement import weight
from headwater.fleet.records import AgentResult, Command, CommandKind, CommandReply
from headwater.node.chores import Chores
from headwater.node.host import Host
from headwater.node.slot import Slot

log = logging.getLogger("headwater.node")

_AT_ONCE = 50
_ANSWER_S = 15.0
_TRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A node that could take agents: what it runs, and how many it has."""

    node_id: str
    kinds: frozenset[str]
    agents: int


@dataclass(slots=True)
class _Moving:
    """Agents on their way, by the command that starts them."""

    slots: dict[str, Slot] = field(default_factory=dict)
    started: dict[str, AgentResult] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class Handover:
    """Moves agents. ``peers`` are the nodes that are at work now, without this one."""

    def __init__(
        self,
        config: Config,
        host: Host,
        chores: Chores,
        peers: Callable[[], list[Peer]],
    ) -> None:
        self._config = config
        self._host = host
        self._chores = chores
        self._peers = peers

    def to(
        self, target: str, slots: list[Slot], grace_s: float, command: Command
    ) -> Iterator[AgentResult]:
        """Move agents to ``target``; one that it does not take comes back."""
        peer = next((p for p in self._peers() if p.node_id == target), None)
        fit = [s for s in slots if peer is not None and s.kind.name in peer.kinds]
        for slot in slots:
            if target == self._config.node_id:
                yield AgentResult(
                    agent_id=slot.agent_id, ok=True, epoch=slot.epoch, version=slot.version
                )
            elif slot not in fit:
                yield _result(slot, f"node {target!r} does not run agents of its kind now")
        moving = self._move({slot.agent_id: target for slot in fit}, fit, grace_s, command)
        yield from moving.started.values()
        back = {i: moving.slots[i].kind for i in moving.refused if i in moving.slots}
        still = [i for i in back if moving.slots[i].paused]
        for taken in self._host.take(back, _ANSWER_S, paused=still, reason="it was not taken"):
            log.info("agent %s is back: %s", taken.agent_id, moving.refused[taken.agent_id])
        for agent_id, error in moving.refused.items():
            yield AgentResult(agent_id=agent_id, ok=False, error=f"node {target!r}: {error}")

    def away(
        self, slots: list[Slot], grace_s: float, command: Command | None
    ) -> Iterator[AgentResult]:
        """Move agents to whichever nodes have the fewest; those that nobody takes are given up,
        and go on when a node of this name is started again.
        """
        left = list(slots)
        refused: dict[str, str] = {}
        for attempt in range(_TRIES):
            peers = [p for p in self._peers() if attempt == 0 or p.node_id not in refused.values()]
            plan = choose(left, peers)
            moving = self._move(plan, left, grace_s, command)
            yield from moving.started.values()
            left = [s for s in left if s.agent_id not in moving.started]
            refused = moving.refused
            if not left or not plan:
                break
        for slot in left:
            error = refused.get(slot.agent_id, "no other node runs agents of its kind")
            yield _result(slot, f"given up, and nobody took it: {error}")

    def _move(
        self, plan: dict[str, str], slots: list[Slot], grace_s: float, command: Command | None
    ) -> _Moving:
        """Give agents up and have them started as planned, some at a time; those that the plan
        does not name are just given up.
        """
        moving = _Moving()
        if not slots:
            return moving
        control = Control(self._config, f"node:{self._config.node_id}")
        sent: list[Command] = []
        try:
            for first in range(0, len(slots), _AT_ONCE):
                released = self._give_up(slots[first : first + _AT_ONCE], grace_s, moving)
                sent += self._send(control, plan, released, moving, command)
            control.wait(sent, _ANSWER_S, lambda reply: _take(reply, moving))
        except HeadwaterError as error:
            log.warning("agents could not be handed over: %s", error)
        finally:
            control.close()
        for agent_id in plan:
            if agent_id not in moving.started:
                moving.refused.setdefault(agent_id, "no answer")
        return moving

    def _give_up(self, slots: list[Slot], grace_s: float, moving: _Moving) -> list[Slot]:
        released: list[Slot] = []

        def chore(slot: Slot) -> None:
            try:
                if not slot.gone:
                    self._host.give_up(slot, grace_s, None, "")
            except HeadwaterError as error:
                moving.refused[slot.agent_id] = str(error)
            else:
                released.append(slot)

        self._chores.do_all([lambda s=s: chore(s) for s in slots], grace_s + _ANSWER_S)  # type: ignore[misc]
        moving.slots |= {slot.agent_id: slot for slot in released}
        return released

    def _send(
        self,
        control: Control,
        plan: dict[str, str],
        released: list[Slot],
        moving: _Moving,
        command: Command | None,
    ) -> list[Command]:
        by_target: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for slot in released:
            if slot.agent_id in plan:
                by_target[plan[slot.agent_id]].append((slot.agent_id, slot.kind.name))
        commands = [
            control.command(
                target,
                CommandKind.START,
                agents,
                # Whoever takes them may not have read their routes yet.
                {"paused": [a for a, _ in agents if moving.slots[a].paused]},
                reason=f"handed over by node {self._config.node_id!r}",
                failure_id=command.failure_id if command is not None else "",
                expires_in_s=_ANSWER_S,
            )
            for target, agents in by_target.items()
        ]
        control.send(*commands)
        return commands


def choose(slots: Iterable[Slot], peers: Iterable[Peer]) -> dict[str, str]:
    """For each agent the node that has the fewest, of those that run its kind; of equal ones the
    one that keeps its warm replica.
    """
    peers = list(peers)
    load = Counter({p.node_id: p.agents for p in peers})
    plan: dict[str, str] = {}
    for slot in slots:
        fit = [p.node_id for p in peers if slot.kind.name in p.kinds]
        if fit:
            agent_id = slot.agent_id
            target = min(fit, key=lambda n, a=agent_id: (load[n], -weight(a, n)))  # type: ignore[misc]
            plan[agent_id] = target
            load[target] += 1
    return plan


def _take(reply: CommandReply, moving: _Moving) -> None:
    for result in reply.results:
        if result.ok:
            moving.started[result.agent_id] = result
        else:
            moving.refused[result.agent_id] = result.error


def _result(slot: Slot, error: str) -> AgentResult:
    return AgentResult(
        agent_id=slot.agent_id, ok=False, error=error, epoch=slot.epoch, version=slot.version
    )
