"""Admission and fold, decided by heads alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.log.fold import Admission, Agent, admit, fold, genesis, new_agent
from headwater.log.records import Encoder, StateChange, parse
from headwater.state.model import state_hash
from headwater.state.patch import APPEND, SET, encode_patch

GOLDEN = Path(__file__).with_name("golden_fold.json")


class Writer:
    """Writes the records of one session, as a session would."""

    def __init__(self, agent: Agent, *, nonce: bytes | None, epoch: int | None = None) -> None:
        self.agent = agent
        self.epoch = agent.head.epoch + 1 if epoch is None else epoch
        self.encoder = Encoder(
            agent_id="a",
            epoch=self.epoch,
            nonce=nonce,
            session_id="s",
            request_id=None,
            node_id="n",
            incarnation=bytes(16),
            lease_ms=1000,
        )

    def claim(self) -> StateChange:
        return parse(b"a", self.encoder.claim(1))

    def record(self, kind: str = "CHANGE", patch: bytes = b"", **head: Any) -> StateChange:
        prev = head.get("prev", self.agent.head.hash)
        sequence = head.get("sequence", self.agent.head.sequence + 1)
        return parse(b"a", self.encoder.record(kind, prev, sequence, patch, 2))


def put(key: str, value: Any) -> bytes:
    return encode_patch([(SET, ["data", key], value)])


def owned(nonce: bytes = b"1" * 16) -> tuple[Agent, Writer]:
    agent = new_agent("a")
    writer = Writer(agent, nonce=nonce)
    assert fold(agent, writer.claim()) is Admission.ADMITTED
    return agent, writer


def test_an_owner_changes_its_agent() -> None:
    """A claim, then changes that each extend the one before."""
    agent, writer = owned()
    for i in range(3):
        assert fold(agent, writer.record(patch=put("k", i))) is Admission.ADMITTED
    assert agent.document["data"] == {"k": 2}
    assert (agent.head.epoch, agent.head.sequence, agent.head.version) == (1, 4, 3)


def test_repeat_stale_and_conflict_are_told_apart() -> None:
    """The record that made the head, an older one, and a rival for the same place."""
    agent, writer = owned()
    first = writer.record(patch=put("k", 1))
    rival = writer.record(patch=put("k", 2))
    fold(agent, first)
    assert admit(agent.head, first) is Admission.REPEAT
    assert admit(agent.head, rival) is Admission.CONFLICT
    fold(agent, writer.record(patch=put("k", 3)))
    assert admit(agent.head, first) is Admission.STALE
    ahead = writer.record(prev=b"x" * 32, sequence=9)
    assert admit(agent.head, ahead) is Admission.CONFLICT


def test_of_two_claims_the_first_wins() -> None:
    """A claim needs the next epoch and nothing else; the second one comes too late."""
    agent = new_agent("a")
    one, two = Writer(agent, nonce=b"1" * 16), Writer(agent, nonce=b"2" * 16)
    claims = one.claim(), two.claim()
    assert fold(agent, claims[0]) is Admission.ADMITTED
    assert fold(agent, claims[1]) is Admission.CONFLICT
    assert fold(agent, two.record()) is Admission.CONFLICT
    assert fold(agent, claims[0]) is Admission.REPEAT
    fold(agent, one.record())
    assert fold(agent, claims[0]) is Admission.STALE


def test_a_busy_zombie_cannot_starve_a_claim() -> None:
    """A claim is admitted whatever stands right before it, and ends the zombie's writing."""
    agent, zombie = owned()
    claim = Writer(agent, nonce=b"2" * 16).claim()
    for i in range(5):
        fold(agent, zombie.record(patch=put("k", i)))
    assert fold(agent, claim) is Admission.ADMITTED
    assert fold(agent, zombie.record(patch=put("k", 9))) is Admission.STALE
    assert agent.document["data"] == {"k": 4}


@pytest.mark.parametrize("nonce", [None, b"9" * 16])
def test_an_owned_agent_takes_no_one_elses_changes(nonce: bytes | None) -> None:
    """The right prev and the right epoch are not enough: it takes the owner's nonce."""
    agent, _ = owned()
    stranger = Writer(agent, nonce=nonce, epoch=1)
    assert fold(agent, stranger.record(patch=put("k", 1))) is Admission.CONFLICT


def test_a_released_agent_takes_changes_by_compare_and_set() -> None:
    """After a release records without a nonce are admitted, the former owner's are not."""
    agent, writer = owned()
    fold(agent, writer.record("RELEASE"))
    assert not agent.head.owned
    assert fold(agent, writer.record(patch=put("k", 1))) is Admission.CONFLICT
    anyone = Writer(agent, nonce=None, epoch=1)
    assert fold(agent, anyone.record(patch=put("k", 2))) is Admission.ADMITTED


def test_an_inapplicable_patch_changes_nothing_and_is_counted() -> None:
    """It keeps its place in the chain and in the versions, the same for every reader."""
    agent, writer = owned()
    fold(agent, writer.record(patch=put("k", 1)))
    for patch in (encode_patch([(APPEND, ["data"], 1)]), b"\xff\x00rubbish", b"\x01"):
        assert fold(agent, writer.record(patch=patch)) is Admission.ADMITTED
    assert (agent.inapplicable, agent.head.version) == (3, 4)
    assert agent.document["data"] == {"k": 1}


def test_deletion_is_final_until_the_next_claim() -> None:
    """A deleted agent keeps its head; a new life goes on from its versions and its epoch."""
    agent, writer = owned()
    fold(agent, writer.record(patch=put("k", 1)))
    fold(agent, writer.record("DELETE"))
    assert agent.head.deleted and not agent.head.exists and not agent.head.owned
    assert agent.document["data"] == {}
    again = Writer(agent, nonce=b"2" * 16)
    assert fold(agent, again.claim()) is Admission.ADMITTED
    assert agent.head.exists and (agent.head.epoch, agent.head.version) == (2, 2)


def test_barriers_are_outside_of_the_chains() -> None:
    """A barrier leaves the head as it was."""
    agent, writer = owned()
    head = agent.head
    assert fold(agent, writer.record("BARRIER")) is Admission.BARRIER
    assert agent.head == head


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=30), st.randoms())
def test_repeats_losses_and_reorderings_never_change_what_is_admitted(
    steps: list[tuple[int, int]], random: Any
) -> None:
    """Whatever is doubled or comes late, the fold holds exactly a prefix of what was written."""
    writing, writer = owned()
    log = [writer.record(patch=put("k", -1))]
    states = [dict(writing.document["data"])]
    fold(writing, log[0])
    states.append(dict(writing.document["data"]))
    for i, (_, copies) in enumerate(steps):
        change = writer.record(patch=put("k", i))
        fold(writing, change)
        states.append(dict(writing.document["data"]))
        log += [change] * (1 + copies)
    noise = random.sample(log, k=min(len(log), 5))
    mixed = list(log)
    for change in noise:
        mixed.insert(random.randrange(len(mixed) + 1), change)
    reading, _ = owned()
    for change in mixed:
        fold(reading, change)
    assert reading.head.hash == writing.head.hash
    assert reading.document == writing.document


def test_golden_vectors() -> None:
    """Stored bytes fold to stored heads and states: what earlier releases wrote stays readable."""
    for vector in json.loads(GOLDEN.read_text()):
        agent = new_agent(vector["agent_id"])
        for step in vector["records"]:
            change = parse(vector["agent_id"].encode(), bytes.fromhex(step["value"]))
            assert fold(agent, change).value == step["admission"], step
            assert agent.head.hash.hex() == step["head"]
            assert agent.head.version == step["version"]
            assert state_hash(vector["agent_id"], agent.document).hex() == step["state_hash"]
        assert agent.inapplicable == vector["inapplicable"]


def test_the_count_of_inapplicable_changes_ends_with_the_agents_life() -> None:
    """What a deleted agent could not apply is not the next one's, wherever a reader starts."""
    agent, writer = owned()
    fold(agent, writer.record(patch=b"no patch"))
    assert agent.inapplicable == 1
    fold(agent, writer.record("DELETE"))
    assert agent.inapplicable == 0


def test_genesis_is_no_agent() -> None:
    """Before its first record an agent does not exist."""
    assert not genesis("a").exists
