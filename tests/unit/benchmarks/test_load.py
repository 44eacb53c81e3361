import random

from benchmarks.fleet import names_in
from benchmarks.load import BEGIN, Chain, Texts, make_chains, set_data
from headwater.log.chain import partition_of
from headwater.log.fold import Admission, fold, new_agent
from headwater.log.records import parse
from headwater.state.model import validate
from headwater.state.patch import encode_patch


def test_every_record_of_a_chain_is_admitted() -> None:
    """What the benchmarks write is what an agent's owner writes."""
    chain = Chain("agent-7", 4, random.Random(1))
    agent = new_agent("agent-7")
    texts = Texts(1, 1 << 12)
    values = [chain.claim(), chain.change(encode_patch(BEGIN))]
    values += [chain.change(set_data(f"key-{n}", texts.take(100))) for n in range(5)]
    for value in values:
        assert fold(agent, parse(chain.key, value)) is Admission.ADMITTED
    assert (agent.head.hash, agent.head.sequence) == (chain.hash, chain.sequence)
    assert agent.head.version == chain.version == 6
    assert len(agent.document["data"]) == 5
    validate(agent.document, "agent-7")


def test_the_same_seed_makes_the_same_bytes() -> None:
    """Rounds and peers are given the same events."""
    first, second = (make_chains(["a", "b"], 4, seed=5) for _ in range(2))
    assert [c.claim() for c in first] == [c.claim() for c in second]
    assert Texts(3, 1 << 12).take(50) == Texts(3, 1 << 12).take(50)


def test_texts_vary_and_have_the_size_asked_for() -> None:
    """No payload repeats the one before."""
    texts = Texts(1, 1 << 14)
    taken = [texts.take(256) for _ in range(50)]
    assert {len(text.encode()) for text in taken} == {256}
    assert len(set(taken)) > 40


def test_names_fill_the_given_partitions_evenly() -> None:
    """Measured agents live where the measured tails are."""
    names = names_in("agent", 12, (0, 1), 20)
    found = [partition_of(name.encode(), 12) for name in names]
    assert sorted(found) == [0] * 10 + [1] * 10
