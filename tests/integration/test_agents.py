"""Sessions against a real broker: what an agent's author can rely on, call by call."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta

import pytest

import headwater
from headwater import (
    AgentNotFound,
    AgentState,
    ChangeRejected,
    ChangesDropped,
    Client,
    Config,
    ForkedProcess,
    RetryableError,
    SessionClosed,
    TooLarge,
    UnsupportedValue,
)
from headwater.agent.session import Session
from tests.support.clusters import Kafka, ours
from tests.support.sessions import append

pytestmark = pytest.mark.kafka

SOON = timedelta(milliseconds=300)


def test_a_change_is_read_back(hw: Client, other: Client) -> None:
    """What one node changed and gave up, another reads and continues."""
    with hw.agent("continued", session="s-1", request="r-1") as agent, agent.change() as state:
        state.messages.append({"role": "user", "content": "hello"})
        state.data["plan"] = ["search", "read"]
        state.status, state.step = "searching", 1
    with other.agent("continued", session="s-2") as agent:
        assert (agent.epoch, agent.version) == (2, 1)
        assert agent.state.data["plan"] == ["search", "read"]
        with agent.change(level=headwater.STRONG) as state:
            state.step += 1
    found = hw.get("continued")
    assert found.state == AgentState(
        "continued",
        session_id="s-2",
        status="searching",
        step=2,
        data={"plan": ["search", "read"]},
        messages=[{"role": "user", "content": "hello"}],
    )
    assert (found.version, found.head.owned, found.inapplicable) == (2, False, 0)


def test_an_exception_publishes_nothing(hw: Client) -> None:
    """A block that raises leaves log and state as they were, and the session goes on."""
    with hw.agent("raises") as agent:
        append(agent, "kept")
        before = agent.copy()
        with pytest.raises(ZeroDivisionError), agent.change() as state:
            state.messages.append("lost")
            state.data["x"] = 1 // 0
        assert agent.copy() == before
        append(agent, "also kept")
    assert hw.get("raises").state.messages == ["kept", "also kept"]


def test_an_unsupported_value_publishes_nothing(hw: Client) -> None:
    """A value that no state can hold is refused where it is put in, and named by its path."""
    with hw.agent("unsupported") as agent:
        append(agent, "kept")
        with pytest.raises(UnsupportedValue) as caught, agent.change() as state:
            state.status = "changed"
            state.data["tools"] = {"callbacks": [1, object()]}
        assert caught.value.path == ("data", "tools", "callbacks", 1)
        assert agent.state.status == "new"
    assert hw.get("unsupported").version == 1


def test_a_nested_change_is_refused(hw: Client) -> None:
    """One change at a time: the inner one raises, and the outer one is taken back with it."""
    with hw.agent("nested") as agent:
        append(agent, "kept")
        with pytest.raises(ChangeRejected, match="open already"), agent.change() as state:
            state.messages.append("outer")
            with agent.change() as inner:
                inner.messages.append("inner")
        append(agent, "after")
    assert hw.get("nested").state.messages == ["kept", "after"]


def test_an_empty_change_is_no_event(hw: Client) -> None:
    """A block that changes nothing makes no version."""
    with hw.agent("empty") as agent:
        append(agent, "kept")
        with agent.change() as state:
            state.status = "new"
        assert agent.version == 1


def test_a_draft_is_dead_after_its_block(hw: Client) -> None:
    """What was taken from a draft cannot be used to change the state later."""
    with hw.agent("late") as agent:
        with agent.change() as state:
            state.messages.append("kept")
            kept = state.messages
        with pytest.raises(ChangeRejected, match="ended"):
            kept.append("late")
        with pytest.raises(ChangeRejected, match="only be read"):
            agent.state.messages.append("late")


def test_delete_ends_a_life(hw: Client) -> None:
    """A deleted agent is not found or listed; the next claim begins anew on the same chain."""
    with hw.agent("deleted") as agent:
        append(agent, "first life")
    assert "deleted" in set(hw.agents())
    hw.delete("deleted")
    with pytest.raises(AgentNotFound, match="was deleted"):
        hw.get("deleted")
    with pytest.raises(AgentNotFound):
        hw.delete("deleted")
    assert "deleted" not in set(hw.agents())
    with hw.agent("deleted") as agent:
        assert (list(agent.state.messages), agent.epoch, agent.version) == ([], 3, 2)
        append(agent, "second life")
    assert hw.get("deleted").state.messages == ["second life"]


def test_an_unknown_agent_is_not_found(hw: Client) -> None:
    """Nothing in the log is an error, not an empty state."""
    with pytest.raises(AgentNotFound, match="not in the log"):
        hw.get("nobody")


def test_watch_sees_each_version(hw: Client, other: Client) -> None:
    """A watcher is given the state now and after each change, in order, until the agent's end."""
    with hw.agent("watched") as agent:
        append(agent, 0)
    seen: list[list[object]] = []
    watching = threading.Event()

    def watch() -> None:
        for each in other.watch("watched", timeout=timedelta(seconds=20)):
            seen.append(each.state.messages)
            watching.set()

    thread = threading.Thread(target=watch)
    thread.start()
    watching.wait(10)
    with hw.agent("watched") as agent:
        for i in range(1, 4):
            append(agent, i)
    hw.delete("watched")
    thread.join(10)
    assert not thread.is_alive()
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_watch_ends_at_its_timeout(hw: Client) -> None:
    """Where nothing changes, a watch with a timeout ends."""
    with hw.agent("still") as agent:
        append(agent, 0)
    assert [each.version for each in hw.watch("still", timeout=SOON)] == [1]


def test_replace_makes_one_change_of_a_whole_state(hw: Client) -> None:
    """A whole state is taken over in one event of the differences; an equal one is no event."""
    with hw.agent("replaced", session="s-1") as agent:
        append(agent, "x" * 10_000)
        state = agent.copy()
        state.messages.append("y")
        state.status = "busy"
        agent.replace(state)
        assert agent.version == 2
        agent.replace(agent.copy())
        assert agent.version == 2
        assert agent.copy() == state
        append(agent, "z")
    found = hw.get("replaced")
    assert [m[0] for m in found.state.messages] == ["x", "y", "z"]
    assert found.size_bytes < 15_000


def test_flush_settles_what_is_in_flight(hw: Client) -> None:
    """Changes that were not waited for are all in the log once flush returns."""
    with hw.agent("flushed") as agent:
        for i in range(500):
            append(agent, i, wait=False)
        agent.flush()
        assert hw.get("flushed").state.messages == list(range(500))
        for i in range(500, 600):
            append(agent, i, wait=False)
    assert hw.get("flushed").state.messages == list(range(600))


def test_too_large_names_the_path(hw: Client, config: Config) -> None:
    """A change, or a state, over its limit is refused with size and path; nothing is published."""
    small = config.with_(max_change_bytes=2048, max_state_bytes=4096, node_id="small")
    with headwater.connect(small) as client, client.agent("large") as agent:
        append(agent, "kept")
        with pytest.raises(TooLarge) as caught, agent.change() as state:
            state.data["report"] = {"title": "t", "body": "x" * 3000}
        assert caught.value.path[:2] == ("data", "report")
        assert caught.value.size_bytes > 3000
        assert caught.value.limit_bytes == 2048
        append(agent, "a" * 1900)
        with pytest.raises(TooLarge, match="state"):
            for _ in range(2):
                append(agent, "b" * 1900)
        wide = agent.copy()
        wide.data["blob"] = b"x" * 5000
        with pytest.raises(TooLarge):
            agent.replace(wide)
        append(agent, "after")
        texts = [m[0] for m in agent.state.messages]
    assert [m[0] for m in hw.get("large").state.messages] == texts
    assert texts[0] == "k" and texts[-1] == "a"


def test_a_closed_session_says_so(hw: Client, config: Config) -> None:
    """After its block, or after its connection was closed, a session raises SessionClosed."""
    with hw.agent("closed") as agent:
        append(agent, 1)
    with pytest.raises(SessionClosed), agent.change():
        pass
    client = headwater.connect(config).open()
    session = client.open("closed")
    client.close()
    with pytest.raises(SessionClosed), session.change():
        pass
    with pytest.raises(SessionClosed):
        client.get("closed")


def test_a_forked_process_must_reconnect(hw: Client) -> None:
    """In a fork's child the inherited connection and session raise ForkedProcess."""
    agent = hw.open("forked")
    assert isinstance(agent, Session)
    append(agent, 1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            refused = 0
            for call in (lambda: hw.get("forked"), lambda: append(agent, 2), agent.flush):
                try:
                    call()
                except ForkedProcess:
                    refused += 1
            code = 0 if refused == 3 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    append(agent, 3)
    agent.release()
    assert hw.get("forked").state.messages == [1, 3]


def test_back_pressure_while_the_broker_is_away(headwater_kafka: Kafka, config: Config) -> None:
    """With a frozen broker memory stays bounded and a change ends in a retryable error; once it
    is back, the log alone says which changes count, and those in it are what was reported.
    """
    kafka = ours(headwater_kafka)
    short = config.with_(
        send_timeout=timedelta(seconds=2), max_in_flight_bytes=64 << 10, node_id="pressed"
    )
    with headwater.connect(short) as client, client.agent("pressed") as agent:
        append(agent, ["before", ""])
        accepted = 1
        kafka.pause(1)
        try:
            started = time.monotonic()
            with pytest.raises(RetryableError):
                for i in range(10_000):
                    append(agent, [i, "x" * 1000], wait=False)
                    accepted += 1
            assert time.monotonic() - started < 8
            assert accepted < 1000
        finally:
            kafka.resume(1)
        dropped = _settle(agent)
        kept = [v for v in range(1, accepted + 1) if v not in dropped]
        append(agent, ["after", ""])
        assert len(agent.state.messages) == len(kept) + 1
    messages = client_messages(config, "pressed")
    assert messages[0] == "before"
    assert messages[-1] == "after"
    assert messages[1:-1] == list(range(len(kept) - 1))


def _settle(agent: Session) -> set[int]:
    """Flush until the brokers answer; the versions that were dropped."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            agent.flush()
        except ChangesDropped as error:
            return set(error.versions)
        except RetryableError:
            time.sleep(0.2)
        else:
            return set()
    raise AssertionError("the session was never settled")


def client_messages(config: Config, agent_id: str) -> list[object]:
    """The first item of each message, as a new connection reads them."""
    with headwater.connect(config) as client:
        return [message[0] for message in client.get(agent_id).state.messages]
