"""What a node tells the fleet beside its heartbeats: routes, replies, and the audit."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from headwater.clock import wall_ms
from headwater.errors import HeadwaterError
from headwater.fleet.feed import Sender, Sent
from headwater.fleet.records import AuditRecord, Command, CommandReply, Route, RouteStatus
from headwater.node.slot import Slot

log = logging.getLogger("headwater.node")

_MOST = 10_000


class Posts:
    """Sends without waiting. What the brokers did not take is sent again by :meth:`tend`: while
    they are away, the audit of a node must not be lost.
    """

    def __init__(self, sender: Sender, node_id: str, incarnation: bytes) -> None:
        self._sender = sender
        self._node_id = node_id
        self._incarnation = incarnation
        self._under_way: deque[tuple[Sent, str, str, Any]] = deque(maxlen=_MOST)
        self._routes: dict[str, Route] = {}
        self.address = ""

    def route(self, slot: Slot, status: RouteStatus, reason: str = "") -> None:
        """Say where an agent runs, or that it does not."""
        route = Route(
            agent_id=slot.agent_id,
            kind=slot.kind.name,
            node_id=self._node_id,
            address=self.address,
            incarnation=self._incarnation,
            epoch=slot.epoch,
            status=status,
            reason=reason,
            updated_at=wall_ms(),
        )
        self._routes[slot.agent_id] = route
        self._send("routes", slot.agent_id, route)

    def reply(self, reply: CommandReply) -> None:
        """Answer a command."""
        self._send("replies", self._node_id, reply)

    def order(self, command: Command) -> None:
        """Tell another node something."""
        self._send("commands", command.node_id, command)

    def audit(
        self,
        action: str,
        component: str = "",
        *,
        message: str = "",
        failure_id: str = "",
        reason: str = "",
        **detail: Any,
    ) -> None:
        """Write down what the node did; ``component`` is the node itself by default."""
        component = component or f"node:{self._node_id}"
        record = AuditRecord(
            at=wall_ms(),
            actor=f"node:{self._node_id}",
            action=action,
            component=component,
            failure_id=failure_id,
            message=message,
            detail=detail,
            reason=reason,
        )
        self._send("audit", failure_id or component, record)

    def restarted(self, slot: Slot, why: str) -> None:
        """An agent goes on from its last acknowledged change after a step that failed."""
        self.audit(
            "agent.restarted",
            f"agent:{slot.agent_id}",
            message=f"{why}; it goes on after a pause",
            restarts=slot.restarts,
            kind=slot.kind.name,
            epoch=slot.epoch,
        )

    def tend(self) -> None:
        """Look after what is under way; to be called a few times a second."""
        self._sender.poll()
        for _ in range(len(self._under_way)):
            entry = self._under_way.popleft()
            sent, topic, key, record = entry
            if not sent.done:
                self._under_way.append(entry)
            elif sent.error is not None:
                log.warning("not written to %s: %s", topic, sent.error.str())
                # Of an agent's routes the last one counts: an older one must not follow it.
                if topic != "routes" or self._routes.get(key) is record:
                    self._send(topic, key, record)
            elif topic == "routes" and self._routes.get(key) is record:
                del self._routes[key]

    def settle(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything is acknowledged; whether it was."""
        try:
            self._sender.settle(*(entry[0] for entry in list(self._under_way)))
        except HeadwaterError as error:
            log.warning("not all was written that the node had to tell: %s", error)
            return False
        return True

    def _send(self, topic: str, key: str, record: Any) -> None:
        try:
            sent = self._sender.send(topic, key, record)
        except HeadwaterError as error:  # its buffer is full
            log.warning("not written to %s: %s", topic, error)
            return
        except BufferError:
            log.warning("not written to %s: the send buffer is full", topic)
            return
        self._under_way.append((sent, topic, key, record))
