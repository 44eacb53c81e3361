"""Who may change an agent: claims, leases, fencing, and compare-and-set without a claim."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest

import headwater
from headwater import AgentOwned, ChangeRejected, Client, Config, Conflict, Fenced
from headwater.agent.session import Session
from headwater.state.diff import diff
from headwater.state.model import new_document
from headwater.state.patch import encode_patch
from tests.support.rivals import encoder, inject
from tests.support.sessions import append

pytestmark = pytest.mark.kafka


def test_refuse_does_not_wait(hw: Client, other: Client) -> None:
    """An owned agent is refused at once, by name of its owner."""
    with hw.agent("refused"):
        started = time.monotonic()
        with pytest.raises(AgentOwned, match="'here'"):
            other.open("refused", claim="refuse")
        assert time.monotonic() - started < 0.5
    other.open("refused", claim="refuse").release()


def test_wait_ends_at_its_timeout(hw: Client, other: Client) -> None:
    """A living owner is waited for, no longer than asked, and keeps the agent."""
    with hw.agent("awaited") as agent:
        with pytest.raises(AgentOwned):
            other.open("awaited", timeout=timedelta(seconds=1.5))
        append(agent, "still mine")
    assert hw.get("awaited").state.messages == ["still mine"]


def test_wait_gets_what_is_given_up(hw: Client, other: Client) -> None:
    """A waiting claimer has the agent soon after its owner gave it up."""
    owner = hw.open("given-up")
    timer = threading.Timer(0.3, owner.release)
    timer.start()
    with other.agent("given-up") as agent:
        assert agent.epoch == 2
    timer.join()


def test_a_lapsed_lease_is_waited_for(config: Config, hw: Client) -> None:
    """An owner that vanished loses the agent once its lease has run out, and not before."""
    gone = headwater.connect(config.with_(node_id="gone")).open()
    append(gone.open("lapsed"), "from the first life")  # type: ignore[arg-type]
    gone.close()
    started = time.monotonic()
    with hw.agent("lapsed") as agent:
        assert 0.6 <= time.monotonic() - started < 3
        assert agent.state.messages == ["from the first life"]


def test_rivals_of_one_process_take_turns(hw: Client) -> None:
    """Threads of one process that want the same agent own it one after the other."""

    def work() -> None:
        with hw.agent("turns", timeout=timedelta(seconds=20)) as agent:
            for _ in range(5):
                with agent.change() as state:
                    state.data["count"] = state.data.get("count", 0) + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = hw.get("turns")
    assert (found.state.data["count"], found.head.epoch) == (20, 4)


def test_a_replaced_owner_is_fenced(hw: Client) -> None:
    """Once another claim stands in the log, a STRONG change raises Fenced, and so does all else."""
    agent = hw.open("fenced")
    assert isinstance(agent, Session)
    append(agent, "kept")
    head = hw.get("fenced").head
    inject(hw.config, hw.partitions, "fenced", encoder(head, epoch=head.epoch + 1).claim(0))
    with pytest.raises(Fenced), agent.change(level=headwater.STRONG) as state:
        state.messages.append("after the rival's claim")
    for call in (lambda: append(agent, "again"), agent.flush, lambda: agent.change().__enter__()):
        with pytest.raises(Fenced):
            call()
    found = hw.get("fenced")
    assert (found.state.messages, found.head.node_id) == (["kept"], "rival")


def test_a_rivals_record_is_no_change(hw: Client) -> None:
    """Records with the wrong prev, nonce or epoch are written to the log and count nowhere."""
    with hw.agent("rivalled") as agent:
        append(agent, "one")
        head = hw.get("rivalled").head
        document = new_document()
        patch = encode_patch(diff(document, {**document, "status": "stolen"}))
        inject(
            hw.config,
            hw.partitions,
            "rivalled",
            encoder(head).record("CHANGE", head.hash, 3, patch, 0),
            encoder(head, nonce=None).record("CHANGE", head.hash, 3, patch, 0),
            encoder(head, nonce=head.nonce).record("CHANGE", bytes(32), 3, patch, 0),
            encoder(head, epoch=head.epoch + 2).claim(0),
            b"no record at all",
        )
        with agent.change(level=headwater.STRONG) as state:
            state.messages.append("two")
    found = hw.get("rivalled")
    assert (found.state.messages, found.state.status) == (["one", "two"], "new")


def test_without_a_claim_the_first_wins(hw: Client, other: Client) -> None:
    """Of two compare-and-sets the later one is a Conflict that carries the newer state."""
    with hw.agent("shared", claim=None) as ours_, other.agent("shared", claim=None) as theirs:
        with ours_.change() as state:
            state.data["n"] = 1
        with pytest.raises(Conflict) as caught, theirs.change() as state:
            state.data["n"] = 10
        assert caught.value.newer.data == {"n": 1}
        assert theirs.state.data["n"] == 1
        with theirs.change() as state:
            state.data["n"] += 1
        with pytest.raises(Conflict), ours_.change() as state:
            state.data["n"] = 100
    assert hw.get("shared").state.data == {"n": 2}
    assert hw.get("shared").version == 2


def test_without_a_claim_an_owner_is_respected(hw: Client, other: Client) -> None:
    """While somebody owns the agent nothing is changed without a claim; afterwards it is."""
    with other.agent("guarded", claim=None) as visitor:
        with hw.agent("guarded") as agent:
            append(agent, "owner's")
            with pytest.raises(AgentOwned), visitor.change() as state:
                state.messages.append("visitor's")
            with pytest.raises(AgentOwned), visitor.change() as state:
                state.messages.append("visitor's")
        with visitor.change() as state:
            state.messages.append("visitor's")
        with pytest.raises(ChangeRejected):
            visitor.change(wait=False)
    assert hw.get("guarded").state.messages == ["owner's", "visitor's"]


def test_counting_without_claims_loses_nothing(hw: Client, other: Client) -> None:
    """Two nodes that count by compare-and-set, trying again at each conflict, count every time."""

    def count(client: Client) -> None:
        with client.agent("counted", claim=None) as agent:
            for _ in range(15):
                while True:
                    try:
                        with agent.change() as state:
                            state.data["n"] = state.data.get("n", 0) + 1
                    except Conflict:
                        continue
                    break

    threads = [threading.Thread(target=count, args=(client,)) for client in (hw, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hw.get("counted").state.data == {"n": 30}
    assert hw.get("counted").version == 30
