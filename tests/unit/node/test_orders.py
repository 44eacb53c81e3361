"""Commands: each once, in order for each agent, side by side otherwise, and all answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from headwater.clock import wall_ms
from headwater.errors import ConfigError
from headwater.fleet.records import AgentResult, Command, CommandAgent, CommandKind, CommandReply
from headwater.node.chores import Chores
from headwater.node.orders import Answer, Orders
from tests.support.processes import eventually


class FakePosts:
    """What a node says, kept."""

    def __init__(self) -> None:
        self.replies: list[CommandReply] = []
        self.audits: list[tuple[str, dict[str, Any]]] = []

    def reply(self, reply: CommandReply) -> None:
        self.replies.append(reply)

    def audit(self, action: str, **detail: Any) -> None:
        self.audits.append((action, detail))


class Obedient:
    """Notes what it is told; holds commands whose id is in ``gates`` until they are let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.gates: dict[str, threading.Event] = {}

    def __call__(self, command: Command, answer: Answer) -> None:
        self.begun.append(command.command_id)
        if (gate := self.gates.get(command.command_id)) is not None:
            gate.wait(30)
        for each in command.agents:
            answer.add(AgentResult(agent_id=each.agent_id, ok=True, version=7))
        if command.reason == "refuse":
            raise ConfigError("no")
        if command.reason == "fault":
            raise KeyError("x")


class Stage:
    """A node's orders with nothing behind them."""

    def __init__(self) -> None:
        self.posts = FakePosts()
        self.obey = Obedient()
        self.chores = Chores(8)
        self.orders = Orders("n1", self.posts, self.obey, self.chores)  # type: ignore[arg-type]

    def take(self, command_id: str, *agents: str, **fields: Any) -> None:
        settings: dict[str, Any] = {"node_id": "n1", "kind": CommandKind.STOP, "issued_at": 0}
        about = [CommandAgent(agent_id=agent) for agent in agents]
        self.orders.take(Command(command_id=command_id, agents=about, **settings | fields))

    def hold(self, command_id: str) -> threading.Event:
        gate = self.obey.gates[command_id] = threading.Event()
        return gate

    def finals(self) -> list[str]:
        return [reply.command_id for reply in self.posts.replies if reply.final]


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    for gate in made.obey.gates.values():
        gate.set()
    made.chores.stop()


def begun(stage: Stage, *expected: str) -> None:
    """These have begun, in this order, and no others."""
    eventually(lambda: len(stage.obey.begun) >= len(expected), 10, f"{expected} have begun")
    assert stage.obey.begun == list(expected)


def test_a_command_is_obeyed_once_and_answered_as_often_as_it_comes(stage: Stage) -> None:
    """The same id again gets the same answer."""
    stage.take("c", "a")
    eventually(lambda: stage.finals() == ["c"], 10, "it is answered")
    stage.take("c", "a")
    assert stage.finals() == ["c", "c"]
    assert stage.posts.replies[0].results == stage.posts.replies[1].results
    assert stage.obey.begun == ["c"]


def test_what_an_earlier_process_answered_is_not_obeyed_again(stage: Stage) -> None:
    """A node that was started again knows its replies; one that was begun only is obeyed."""
    done = CommandReply(command_id="done", node_id="n1", results=[], final=True)
    half = CommandReply(command_id="half", node_id="n1", results=[], final=False)
    alien = CommandReply(command_id="alien", node_id="n2", results=[], final=True)
    stage.orders.remember([done, half, alien])
    for name in ("done", "half", "alien"):
        stage.take(name, "a")
    eventually(lambda: len(stage.finals()) == 3, 10, "all are answered")
    assert sorted(stage.obey.begun) == ["alien", "half"]


def test_reading_that_begins_again_obeys_nothing_twice(stage: Stage) -> None:
    """The brokers were away: what is being obeyed, or was, is known already."""
    gate = stage.hold("open")
    stage.take("done", "a")
    stage.take("open", "b")
    eventually(lambda: stage.finals() == ["done"] and len(stage.obey.begun) == 2, 10, "begun")
    stage.orders.remember(stage.posts.replies)
    stage.take("done", "a")
    stage.take("open", "b")
    assert [len(r.results) for r in stage.posts.replies if r.final] == [1, 1]
    gate.set()
    eventually(lambda: stage.finals().count("open") == 1, 10, "it is done")
    assert sorted(stage.obey.begun) == ["done", "open"]


def test_commands_of_one_agent_keep_their_order(stage: Stage) -> None:
    """Others go on meanwhile."""
    gate = stage.hold("1")
    stage.take("1", "a", "b")
    begun(stage, "1")
    stage.take("2", "b")
    stage.take("3", "c")
    begun(stage, "1", "3")
    gate.set()
    begun(stage, "1", "3", "2")


def test_one_for_all_agents_waits_for_all_before_it(stage: Stage) -> None:
    """And those after it wait for it."""
    gate, whole = stage.hold("1"), stage.hold("all")
    stage.take("1", "a")
    begun(stage, "1")
    stage.take("all")
    stage.take("2", "b")
    gate.set()
    begun(stage, "1", "all")
    whole.set()
    begun(stage, "1", "all", "2")


def test_a_node_that_is_to_drain_does_not_wait_for_claims(stage: Stage) -> None:
    """What is about the node itself is obeyed at once, among itself in order."""
    stage.hold("1")
    stage.take("1", "a", kind=CommandKind.START)
    begun(stage, "1")
    gate = stage.hold("ro")
    stage.take("ro", kind=CommandKind.READ_ONLY)
    stage.take("rw", kind=CommandKind.READ_WRITE)
    begun(stage, "1", "ro")
    gate.set()
    begun(stage, "1", "ro", "rw")


def test_those_of_other_nodes_and_old_ones_are_not_obeyed(stage: Stage) -> None:
    """A command that has expired is answered, one for somebody else is not."""
    stage.take("theirs", "a", node_id="n2")
    stage.take("old", "a", expires_at=wall_ms() - 1)
    stage.take("fresh", "a", expires_at=wall_ms() + 60_000)
    eventually(lambda: len(stage.finals()) == 2, 10, "both are answered")
    assert stage.obey.begun == ["fresh"]
    (old,) = [r for r in stage.posts.replies if r.command_id == "old"]
    assert not old.ok
    assert "expired" in old.error


@pytest.mark.parametrize(("reason", "text"), [("refuse", "no"), ("fault", "KeyError")])
def test_what_goes_wrong_is_answered_and_audited(stage: Stage, reason: str, text: str) -> None:
    """A refusal, or a fault: the sender is told, and the next command is obeyed."""
    stage.take("c", "a", reason=reason)
    stage.take("d", "a")
    eventually(lambda: len(stage.finals()) == 2, 10, "both are answered")
    reply = stage.posts.replies[0]
    assert not reply.ok
    assert text in reply.error
    assert [action for action, _ in stage.posts.audits] == ["command.failed", "command.obeyed"]


def test_replies_come_as_agents_are_done(stage: Stage) -> None:
    """What has come since is sent when asked for, a few hundred agents at a time."""
    answer = Answer(stage.posts, "n1", "c")  # type: ignore[arg-type]
    answer.flush()
    assert not stage.posts.replies
    for number in range(450):
        answer.add(AgentResult(agent_id=f"a{number}", ok=number != 440))
    answer.flush()
    answer.add(AgentResult(agent_id="last", ok=True))
    answer.finish()
    replies = stage.posts.replies
    assert [len(r.results) for r in replies] == [200, 200, 50, 1]
    assert [r.final for r in replies] == [False, False, False, True]
    assert not replies[-1].ok
