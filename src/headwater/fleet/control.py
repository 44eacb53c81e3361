"""Telling nodes what to do, and hearing how they did."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from headwater.clock import wall_ms
from headwater.config import Config
from headwater.fleet.feed import Feed, Sender, decoded
from headwater.fleet.records import Command, CommandAgent, CommandKind, CommandReply

Replies = dict[str, list[CommandReply]]


class Control:
    """Sends commands and follows the nodes' replies; for one thread.

    A command that is sent again under its id is obeyed once, and answered again.
    """

    def __init__(self, config: Config, issued_by: str, sender: Sender | None = None) -> None:
        self._sender = sender or Sender(config)
        self._ours = sender is None
        self._issued_by = issued_by
        self._feed = Feed(config, "replies", "end")

    def command(
        self,
        node_id: str,
        kind: CommandKind,
        agents: Iterable[tuple[str, str]] = (),
        arguments: Mapping[str, Any] | None = None,
        *,
        command_id: str | None = None,
        reason: str = "",
        failure_id: str = "",
        expires_in_s: float = 0.0,
    ) -> Command:
        """A command to be sent. ``agents`` are pairs of id and kind; none means all of the node."""
        now = wall_ms()
        return Command(
            command_id=command_id or secrets.token_hex(16),
            node_id=node_id,
            kind=kind,
            agents=[CommandAgent(agent_id=agent, kind=name) for agent, name in agents],
            arguments=dict(arguments or {}),
            reason=reason,
            failure_id=failure_id,
            issued_by=self._issued_by,
            issued_at=now,
            expires_at=now + round(expires_in_s * 1000) if expires_in_s else 0,
        )

    def send(self, *commands: Command) -> None:
        """Send commands, and wait until they are in the log."""
        sents = [self._sender.send("commands", c.node_id, c) for c in commands]
        self._sender.settle(*sents)

    def read(self, timeout_s: float) -> list[CommandReply]:
        """The replies that have come, whoever asked, waiting up to ``timeout_s`` for one."""
        replies = []
        for message in self._feed.read(timeout_s):
            reply = decoded(CommandReply, message)
            if reply is not None:
                replies.append(reply)
        return replies

    def wait(
        self,
        commands: Iterable[Command],
        timeout_s: float,
        on_reply: Callable[[CommandReply], None] | None = None,
    ) -> Replies:
        """The replies to commands, by command id, once each has its final one or time is over;
        a command that nobody answered has an empty list.
        """
        replies: Replies = {c.command_id: [] for c in commands}
        open_ = set(replies)
        deadline = time.monotonic() + timeout_s
        while open_ and (left := deadline - time.monotonic()) > 0:
            for reply in self.read(min(left, 0.1)):
                if reply.command_id not in replies:
                    continue
                replies[reply.command_id].append(reply)
                if on_reply is not None:
                    on_reply(reply)
                if reply.final:
                    open_.discard(reply.command_id)
        return replies

    def close(self) -> None:
        """Stop following."""
        self._feed.close()
        if self._ours:
            self._sender.close()
