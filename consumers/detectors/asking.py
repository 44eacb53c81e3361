"""Asks nodes what they have, and holds it against an independent replay."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from headwater.fleet.control import Control
from headwater.fleet.placement import first
from headwater.fleet.records import (
    Command,
    CommandKind,
    CommandReply,
    FailureType,
    Route,
    RouteStatus,
)
from headwater.recovery import Recovery

from .inconsistency import Answer, agrees, answers
from .outlook import Outlook
from .replay import replay

_AT_ONCE = 20
_A_SECOND = 1.0
_ANSWER_S = 3.0
_REPLICA = "replica:"
_HELD = frozenset({RouteStatus.RUNNING, RouteStatus.PAUSED})

Hashes = dict[int, frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of asking: an answer, the hashes that the replay came by, and whether they agree.
    ``answer`` None: that ``subject`` of the agent is not there any more, so it cannot be wrong.
    """

    agent_id: str
    subject: str
    agrees: bool
    answer: Answer | None = None
    hashes: Hashes


class Asking:
    """For one thread. An agent is held up for a moment by being asked after, so that is done for
    one a second at most.
    """

    def __init__(
        self, recovery: Recovery, control: Control, route: Callable[[str], Route | None]
    ) -> None:
        self._recovery = recovery
        self._control = control
        self._route = route
        self._turns: dict[int, int] = {}
        self._credit = float(_AT_ONCE)
        self._credited_s = time.monotonic()

    def some(self, number: int, ids: Sequence[str], outlook: Outlook) -> Iterator[Verdict]:
        """Ask after some agents of a partition: each time the next ones."""
        now_s = time.monotonic()
        self._credit = min(_AT_ONCE, self._credit + (now_s - self._credited_s) * _A_SECOND)
        self._credited_s = now_s
        at = self._turns.get(number, 0) % max(1, len(ids))
        asked = [*ids[at:], *ids[:at]][: int(self._credit)]
        self._turns[number] = at + len(asked)
        self._credit -= len(asked)
        return self.about(number, asked, outlook)

    def about(self, number: int, ids: Sequence[str], outlook: Outlook) -> Iterator[Verdict]:
        """Ask after these agents of a partition now."""
        commands = [
            self._command(node_id, agents) for node_id, agents in self._whom(ids, outlook).items()
        ]
        if not commands:
            return
        self._control.read(0)
        self._control.send(*commands)
        heard = self._control.wait(commands, _ANSWER_S)
        replies = [reply for each in heard.values() for reply in each]
        said = [answer for r in replies for answer in answers(r.node_id, r.results)]
        wanted: dict[str, set[int]] = {}
        for answer in said:
            wanted.setdefault(answer.agent_id, set()).add(answer.version)
        replayed = replay(self._recovery, number, wanted) if wanted else {}
        for answer in said:
            hashes = replayed[answer.agent_id].hashes
            verdict = agrees(answer, hashes)
            if verdict is not None:
                yield Verdict(
                    agent_id=answer.agent_id,
                    subject=answer.subject,
                    agrees=verdict,
                    answer=answer,
                    hashes=hashes,
                )
        yield from self._absent(replies, outlook)

    def _whom(self, ids: Sequence[str], outlook: Outlook) -> dict[str, list[tuple[str, str]]]:
        """Which nodes to ask after which agents, with their kinds: owner, the node that is to keep
        a replica, and those whose replica was found to be wrong.
        """
        by_node: dict[str, list[tuple[str, str]]] = {}
        for agent_id in ids:
            route = self._route(agent_id)
            if route is None or route.status not in _HELD:
                continue
            likely = first(agent_id, outlook.living - {route.node_id})
            keepers = ({likely} & outlook.with_replicas) | _reported(agent_id, outlook)
            for node_id in ({route.node_id} | keepers) & outlook.living:
                if node_id is not None:
                    by_node.setdefault(node_id, []).append((agent_id, route.kind))
        return by_node

    def _command(self, node_id: str, agents: list[tuple[str, str]]) -> Command:
        return self._control.command(
            node_id,
            CommandKind.VERIFY,
            agents,
            {"timeout_s": _ANSWER_S / 2},
            reason="audit",
            expires_in_s=2 * _ANSWER_S,
        )

    def _absent(self, replies: Sequence[CommandReply], outlook: Outlook) -> Iterator[Verdict]:
        """The replicas that were found to be wrong, and are not kept any more."""
        for reply in replies:
            for result in reply.results:
                if not result.ok and reply.node_id in _reported(result.agent_id, outlook):
                    subject = f"{_REPLICA}{reply.node_id}"
                    yield Verdict(agent_id=result.agent_id, subject=subject, agrees=True, hashes={})


def _reported(agent_id: str, outlook: Outlook) -> set[str | None]:
    """The nodes whose replica of an agent was reported to be wrong."""
    return {
        str(event.context["subject"]).removeprefix(_REPLICA)
        for event in outlook.open
        if event.type is FailureType.DATA_INCONSISTENCY
        and event.component == f"agent:{agent_id}"
        and str(event.context.get("subject", "")).startswith(_REPLICA)
    }
