"""What a handler knows of the fleet, kept warm in memory: who lives, who runs what, which failures
were and are being put right, which of them a person has.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from confluent_kafka import Message

from headwater.clock import suspended_clock, wall_ms
from headwater.config import Config
from headwater.errors import HeadwaterError, RetryableError, TerminalError
from headwater.fleet.feed import Feed, decoded
from headwater.fleet.pulse import Life, Pulse
from headwater.fleet.records import (
    Command,
    CommandKind,
    CommandReply,
    Escalation,
    FailureType,
    Metric,
    RecoveryResult,
    RecoveryStatus,
    Route,
)
from headwater.fleet.routes import RouteTable

from .nodes import NodeView

log = logging.getLogger("headwater.strategies")

_READ_S = 0.2
# A reply of long ago is to a command that is sent again, and answered again.
_REPLIES_MS = 600_000
_REPLIES_MAX = 20_000
_METRICS_MS = 300_000
_DAY_MS = 86_400_000
_UNDER_WAY = (RecoveryStatus.RUNNING, RecoveryStatus.ESCALATED)
_NODES = (FailureType.NODE_FAILURE, FailureType.NETWORK_PARTITION)


@dataclass(frozen=True, slots=True)
class Started:
    """That a node was told to start an agent: of what kind, when (milliseconds since 1970), and
    when that was read.
    """

    node_id: str
    kind: str
    at_ms: int
    read_s: float


class World:
    """The tables, each followed by a thread of its own. What it returns are copies."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._pulse = Pulse(config, history_s=2 * config.timing.lease.total_seconds() + 2)
        self._routes = RouteTable()
        self._outcomes: dict[str, RecoveryResult] = {}
        self._by_partition: defaultdict[int, set[str]] = defaultdict(set)
        self._escalations: dict[str, Escalation] = {}
        self._replies: dict[str, list[CommandReply]] = {}
        self._started: dict[str, Started] = {}
        self._metrics: dict[tuple[str, str], Metric] = {}
        self._exhausting: set[str] = set()
        self._strikes: dict[str, tuple[int, int]] = {}
        self._failed_s: dict[str, float] = {}
        self._failures: defaultdict[str, list[int]] = defaultdict(list)
        self.on_outcome: Callable[[int, RecoveryResult], None] = lambda partition, result: None
        self.on_escalation: Callable[[Escalation], None] = lambda escalation: None
        self.fault: HeadwaterError | None = None
        now = wall_ms()
        self._feeds: dict[str, Feed] = {
            "routes": Feed(config, "routes"),
            "outcomes": Feed(config, "outcomes"),
            "escalations": Feed(config, "escalations"),
            "commands": Feed(config, "commands", now - _REPLIES_MS),
            "replies": Feed(config, "replies", now - _REPLIES_MS),
            "metrics": Feed(config, "metrics", now - _METRICS_MS),
        }
        take: dict[str, Callable[[Message], None]] = {
            "routes": self._take_route,
            "outcomes": self._take_outcome,
            "escalations": self._take_escalation,
            "commands": self._take_command,
            "replies": self._take_reply,
            "metrics": self._take_metric,
        }
        loops = [self._beat_loop] + [self._loop(self._feeds[t], take[t]) for t in take]
        self._threads = [
            threading.Thread(target=self._guarded, args=(loop,), name="strategies-world")
            for loop in loops
        ]

    def start(self) -> None:
        """Begin to follow, and wait until everything that is there now was read."""
        for thread in self._threads:
            thread.start()
        feeds: list[Feed | Pulse] = [*self._feeds.values(), self._pulse]
        self.wait_for(
            lambda: self.fault is not None or all(each.caught_up for each in feeds),
            self._config.read_timeout.total_seconds(),
        )
        self.check()

    def check(self) -> None:
        """Raises what ended one of the threads."""
        if self.fault is not None:
            raise self.fault

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._pulse.close()
        for feed in self._feeds.values():
            feed.close()

    def wait_for(self, true: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until something that was read makes ``true`` so; what it says in the end."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not true():
                left = deadline - time.monotonic()
                if left <= 0 or self._stop.is_set():
                    return False
                # Time alone may make it so.
                self._changed.wait(min(left, 0.1))
        return True

    def wake(self) -> None:
        """Have everybody who waits look again."""
        with self._changed:
            self._changed.notify_all()

    def lives(self) -> dict[str, Life]:
        """By node id, the latest process under it."""
        return dict(self._pulse.lives)

    def life(self, node_id: str, incarnation: bytes = b"") -> Life | None:
        """A process under a node id: the one of that incarnation, or the latest."""
        latest, before = self._pulse.lives.get(node_id), self._pulse.previous.get(node_id)
        if not incarnation:
            return latest
        found = [life for life in (latest, before) if life and life.incarnation == incarnation]
        return found[0] if found else None

    def nodes(self) -> list[NodeView]:
        """The nodes that could be told something, as their last heartbeats tell."""
        now_s = suspended_clock()
        return [
            NodeView.of(
                life,
                silent_s=now_s - life.read_s,
                failed=self._failed_s.get(life.node_id, 0.0) >= life.read_s,
                failures=self._failures_of(life.node_id),
            )
            for life in self.lives().values()
        ]

    def route(self, agent_id: str) -> Route | None:
        """Where an agent runs."""
        with self._changed:
            return self._routes.get(agent_id)

    def routes(self, node_id: str | None = None) -> list[Route]:
        """The routes that lead to a node, or all of them."""
        with self._changed:
            return self._routes.all() if node_id is None else self._routes.on(node_id)

    def starting(self, node_id: str, until_s: float = float("inf")) -> dict[str, str]:
        """The agents that a node was last told to start, before ``until_s`` on the clock that
        counts suspension, and whose routes do not tell of a start since; with their kinds. A node
        that dies at once has no time to tell.
        """
        with self._changed:
            told = {a: s for a, s in self._started.items() if s.node_id == node_id}
            return {
                agent: started.kind
                for agent, started in told.items()
                if started.read_s < until_s
                and (route := self._routes.get(agent)) is not None
                and route.updated_at < started.at_ms
            }

    def failed_since(self, node_id: str, since_s: float) -> bool:
        """Whether a failure of the node was begun to be put right since then, on that clock."""
        return self._failed_s.get(node_id, 0.0) >= since_s

    def replies(self, command_id: str) -> list[CommandReply]:
        """What was answered to a command so far."""
        with self._changed:
            return list(self._replies.get(command_id, ()))

    def metric(self, name: str, component: str) -> Metric | None:
        """The newest window of a metric."""
        with self._changed:
            return self._metrics.get((name, component))

    def outcome(self, failure_id: str) -> RecoveryResult | None:
        """What was done about a failure so far."""
        with self._changed:
            return self._outcomes.get(failure_id)

    def outcomes(self, partition: int | None = None) -> list[RecoveryResult]:
        """All outcomes, or those of a partition of failures."""
        with self._changed:
            if partition is None:
                return list(self._outcomes.values())
            return [self._outcomes[each] for each in self._by_partition[partition]]

    def outcomes_read(self, partition: int) -> int:
        """The offset behind the last outcome that was read in a partition."""
        return self._feeds["outcomes"].positions[partition]

    def escalation(self, failure_id: str) -> Escalation | None:
        """A failure's escalation, if there is one."""
        with self._changed:
            return self._escalations.get(failure_id)

    def exhausted(self) -> frozenset[str]:
        """The nodes that are running out of something, and get no more agents meanwhile."""
        with self._changed:
            open_ = [self._outcomes[each] for each in self._exhausting]
        return frozenset(node for each in open_ for node in nodes_of(each.component))

    def frozen(self) -> dict[str, set[str]]:
        """The failures that are why a node is cut off, by node."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for each in self.outcomes():
            if each.type is FailureType.NETWORK_PARTITION and each.status in _UNDER_WAY:
                for node in nodes_of(each.component):
                    found[node].add(each.failure_id)
        return found

    def strikes(self) -> dict[str, int]:
        """Agents and how many nodes in a row failed before they completed a step there."""
        with self._changed:
            return {agent: count for agent, (_, count) in self._strikes.items() if count}

    def _failures_of(self, node_id: str) -> list[int]:
        since = wall_ms() - _DAY_MS
        with self._changed:
            return sorted(each for each in self._failures.get(node_id, ()) if each >= since)

    def _guarded(self, loop: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                loop()
            except RetryableError as error:
                log.warning("following the fleet: %s", error)
                self._stop.wait(_READ_S)
            except HeadwaterError as error:
                self._fail(error)
            except Exception as error:
                log.error("following the fleet failed", exc_info=True)
                self._fail(TerminalError(f"a fault in following the fleet: {error!r}"))

    def _fail(self, error: HeadwaterError) -> None:
        """A table that is not kept up any more must not be believed: everything ends."""
        self.fault = error
        self._stop.set()
        self.wake()

    def _loop(self, feed: Feed, take: Callable[[Message], None]) -> Callable[[], None]:
        def loop() -> None:
            messages = feed.read(_READ_S)
            with self._changed:
                for message in messages:
                    take(message)
                if messages or feed.caught_up:
                    self._changed.notify_all()

        return loop

    def _beat_loop(self) -> None:
        if self._pulse.read(_READ_S):
            self.wake()

    def _take_route(self, message: Message) -> None:
        key = (message.key() or b"").decode(errors="replace")
        route = decoded(Route, message)
        if route is not None or message.value() is None:
            self._routes.take(key, route)

    def _take_outcome(self, message: Message) -> None:
        result: RecoveryResult | None = decoded(RecoveryResult, message)
        partition = message.partition() or 0
        if result is None:
            if message.value() is None:
                failure_id = (message.key() or b"").decode(errors="replace")
                self._outcomes.pop(failure_id, None)
                self._by_partition[partition].discard(failure_id)
            return
        if result.failure_id not in self._outcomes and result.type in _NODES:
            for node_id in nodes_of(result.component):
                since = result.started_at - _DAY_MS
                times = [at for at in self._failures[node_id] if at >= since]
                self._failures[node_id] = [*times, result.started_at]
                if result.type is FailureType.NODE_FAILURE:
                    self._failed_s[node_id] = suspended_clock()
        if result.type is FailureType.RESOURCE_EXHAUSTION:
            under_way = result.status in _UNDER_WAY
            (self._exhausting.add if under_way else self._exhausting.discard)(result.failure_id)
        self._by_partition[partition].add(result.failure_id)
        for step in result.steps:
            for agent, count in strikes_in(step.detail):
                known = self._strikes.get(agent)
                if known is None or known[0] <= result.started_at:
                    self._strikes[agent] = (result.started_at, count)
        if result.status not in _UNDER_WAY:
            # That it is over is all that anybody needs to know of it here.
            result = msgspec.structs.replace(result, steps=[], items=[])
        self._outcomes[result.failure_id] = result
        self.on_outcome(partition, result)

    def _take_escalation(self, message: Message) -> None:
        escalation: Escalation | None = decoded(Escalation, message)
        if escalation is None and message.value() is None:
            self._escalations.pop((message.key() or b"").decode(errors="replace"), None)
        elif escalation is not None:
            self._escalations[escalation.failure_id] = escalation
            self.on_escalation(escalation)

    def _take_command(self, message: Message) -> None:
        command: Command | None = decoded(Command, message)
        if command is None or command.kind is not CommandKind.START:
            return
        now_s = suspended_clock()
        for agent in command.agents:
            self._started.pop(agent.agent_id, None)
            self._started[agent.agent_id] = Started(
                command.node_id, agent.kind, command.issued_at, now_s
            )
        since = command.issued_at - _REPLIES_MS
        for agent_id in list(self._started):
            if self._started[agent_id].at_ms >= since:
                break
            del self._started[agent_id]

    def _take_reply(self, message: Message) -> None:
        reply: CommandReply | None = decoded(CommandReply, message)
        if reply is not None:
            self._replies.setdefault(reply.command_id, []).append(reply)
            while len(self._replies) > _REPLIES_MAX:
                del self._replies[next(iter(self._replies))]

    def _take_metric(self, message: Message) -> None:
        metric: Metric | None = decoded(Metric, message)
        if metric is not None:
            known = self._metrics.get((metric.name, metric.component))
            if known is None or known.window_start <= metric.window_start:
                self._metrics[metric.name, metric.component] = metric


def nodes_of(component: str) -> list[str]:
    """The nodes that a component names: one of ``node:ID``, several of ``partition:A,B``."""
    sort, _, names = component.partition(":")
    if sort == "node":
        return [names]
    return names.split(",") if sort == "partition" else []


def strikes_in(detail: dict[str, Any]) -> Iterable[tuple[str, int]]:
    """The strikes that a step's record holds."""
    found = detail.get("strikes", {})
    return [(str(agent), int(count)) for agent, count in found.items()]
