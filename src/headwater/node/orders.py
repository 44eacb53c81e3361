"""The commands that a node gets: each obeyed once, in order for each agent, side by side
otherwise, and answered as it is done.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from headwater.clock import suspended_clock, wall_ms
from headwater.config import Config
from headwater.errors import HeadwaterError
from headwater.fleet.feed import Feed, decoded
from headwater.fleet.records import AgentResult, Command, CommandKind, CommandReply
from headwater.node.chores import Chores
from headwater.node.posts import Posts

log = logging.getLogger("headwater.node")

WINDOW_S = 60.0
"""How old a command may be that a node finds when it starts."""

_REMEMBERED_S = 3600.0
_CHUNK = 200
_SIDE_BY_SIDE = 64
_OF_NODE = (CommandKind.DRAIN, CommandKind.READ_ONLY, CommandKind.READ_WRITE)


class Answer:
    """The replies to one command, sent as they come, a few at a time."""

    def __init__(self, posts: Posts, node_id: str, command_id: str) -> None:
        self._posts = posts
        self._node_id = node_id
        self._command_id = command_id
        self._lock = threading.Lock()
        self._unsent: list[AgentResult] = []
        self.results: list[AgentResult] = []
        self.error = ""
        self.finished = False
        self.touched_s = suspended_clock()

    @property
    def ok(self) -> bool:
        """Whether all was done so far."""
        return not self.error and all(result.ok for result in self.results)

    def add(self, result: AgentResult) -> None:
        """One agent is done with."""
        with self._lock:
            self.results.append(result)
            self._unsent.append(result)

    def flush(self) -> None:
        """Send what has come since the last time."""
        with self._lock:
            if self._unsent and not self.finished:
                self._send(final=False)

    def finish(self, error: str = "") -> None:
        """Nothing more comes; ``error`` is why the whole command was refused."""
        with self._lock:
            self.error = error
            self.finished = True
            self.touched_s = suspended_clock()
            self._send(final=True)

    def repeat(self) -> None:
        """Answer again, to somebody who did not hear."""
        with self._lock:
            if self.finished:
                self._unsent = list(self.results)
                self._send(final=True)

    def known(self, reply: CommandReply) -> None:
        """Take in what an earlier process of the node answered."""
        self.results += reply.results
        self.error = reply.error
        self.finished = self.finished or reply.final

    def _send(self, *, final: bool) -> None:
        while self._unsent or final:
            chunk, self._unsent = self._unsent[:_CHUNK], self._unsent[_CHUNK:]
            last = final and not self._unsent
            reply = CommandReply(
                command_id=self._command_id,
                node_id=self._node_id,
                final=last,
                ok=self.ok,
                error=self.error,
                results=chunk,
                replied_at=wall_ms(),
            )
            self._posts.reply(reply)
            if last:
                return


@dataclass(slots=True, eq=False)
class Order:
    """A command on its way to be obeyed."""

    command: Command
    answer: Answer
    agents: frozenset[str]
    waiting: int = 0
    behind: list[Order] = field(default_factory=list)

    @property
    def of_node(self) -> bool:
        """Whether it is about what the node itself may do."""
        return self.command.kind in _OF_NODE and not self.agents

    def follows(self, other: Order) -> bool:
        """Whether it must wait until ``other``, which came before it, is done."""
        if self.of_node:
            # A node that is to stop must not wait for claims that may take long.
            return other.of_node
        return not self.agents or not other.agents or bool(self.agents & other.agents)


Obey = Callable[[Command, Answer], None]


class Orders:
    """Takes commands in, and has each obeyed by ``obey`` once those before it are done."""

    def __init__(self, node_id: str, posts: Posts, obey: Obey, chores: Chores | None = None):
        self._node_id = node_id
        self._posts = posts
        self._obey = obey
        self._chores = chores or Chores(_SIDE_BY_SIDE)
        self._lock = threading.Lock()
        self._open: list[Order] = []
        self._answers: dict[str, Answer] = {}

    def remember(self, replies: Iterable[CommandReply]) -> None:
        """What an earlier process of this node has answered is not obeyed again."""
        heard: dict[str, Answer] = {}
        for reply in replies:
            command_id = reply.command_id
            # Reading may begin again in the life of a process, which knows its own answers best.
            if reply.node_id == self._node_id and command_id not in self._answers:
                if command_id not in heard:
                    heard[command_id] = Answer(self._posts, self._node_id, command_id)
                heard[command_id].known(reply)
        self._answers |= {i: answer for i, answer in heard.items() if answer.finished}

    def take(self, command: Command) -> None:
        """Take in a command of the log."""
        if command.node_id != self._node_id:
            return
        if (known := self._answers.get(command.command_id)) is not None:
            known.repeat()
            return
        answer = self._answer(command.command_id)
        if command.expires_at and wall_ms() > command.expires_at:
            answer.finish("it came too late: it had expired")
            return
        order = Order(command, answer, frozenset(a.agent_id for a in command.agents))
        with self._lock:
            before = [each for each in self._open if order.follows(each)]
            self._open.append(order)
            order.waiting = len(before)
            for each in before:
                each.behind.append(order)
        if not before:
            self._chores.do(lambda: self._run(order))

    def flush(self) -> None:
        """Send the replies that have come together; to be called every few milliseconds."""
        for order in list(self._open):
            order.answer.flush()

    def idle(self, timeout_s: float, but: str = "") -> bool:
        """Wait until all are obeyed, ``but`` one."""
        deadline = suspended_clock() + timeout_s
        pause = threading.Event()
        while any(order.command.command_id != but for order in list(self._open)):
            if suspended_clock() > deadline:
                return False
            pause.wait(0.02)
        return True

    def _answer(self, command_id: str) -> Answer:
        answer = self._answers.get(command_id)
        if answer is None:
            self._forget()
            answer = Answer(self._posts, self._node_id, command_id)
            self._answers[command_id] = answer
        return answer

    def _forget(self) -> None:
        now_s = suspended_clock()
        # Oldest first, as dictionaries keep them.
        for command_id, answer in list(self._answers.items()):
            if not answer.finished or now_s - answer.touched_s < _REMEMBERED_S:
                break
            del self._answers[command_id]

    def _run(self, order: Order) -> None:
        error = ""
        try:
            self._obey(order.command, order.answer)
        except HeadwaterError as refused:
            error = str(refused)
        except Exception as fault:
            log.exception("command %s could not be obeyed", order.command.command_id)
            error = f"a fault in the node: {fault!r}"
        finally:
            order.answer.finish(error)
            self._note(order)
            self._done(order)

    def _note(self, order: Order) -> None:
        command, answer = order.command, order.answer
        failed = {r.agent_id: r.error for r in answer.results if not r.ok}
        self._posts.audit(
            "command.obeyed" if answer.ok else "command.failed",
            message=f"{command.kind.value} of {command.issued_by}"
            + (f": {answer.error}" if answer.error else ""),
            failure_id=command.failure_id,
            reason=command.reason,
            command_id=command.command_id,
            agents=len(answer.results),
            failed=dict(list(failed.items())[:20]),
        )

    def _done(self, order: Order) -> None:
        with self._lock:
            self._open.remove(order)
            ready = []
            for each in order.behind:
                each.waiting -= 1
                if each.waiting == 0:
                    ready.append(each)
        for each in ready:
            self._chores.do(lambda each=each: self._run(each))  # type: ignore[misc]


class OrderFeed:
    """Reads a node's commands from the log."""

    def __init__(self, config: Config, orders: Orders, window_s: float = WINDOW_S) -> None:
        since_ms = wall_ms() - round(window_s * 1000)
        replies = Feed(config, "replies", since_ms)
        try:
            heard = [decoded(CommandReply, m) for m in replies.read_all()]
        finally:
            replies.close()
        orders.remember(reply for reply in heard if reply is not None)
        self._orders = orders
        self._feed = Feed(config, "commands", since_ms)

    def read(self) -> None:
        """Take in what comes."""
        for message in self._feed.read(0.25):
            command = decoded(Command, message)
            if command is not None:
                self._orders.take(command)

    def close(self) -> None:
        """Stop reading."""
        self._feed.close()
