"""Recovery where the quick way fails: other layers, repair, and reconstruction."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

import headwater
from headwater import AgentState, Client, Config, ConfigError, InvalidState, Unprovable
from headwater.cli import cli
from headwater.log.snapshots import IndexEntry
from headwater.recovery.derive import Dependencies
from headwater.recovery.layers import EVENTS, OLDER
from streams.snapshots.partition import Timing
from streams.snapshots.strategy import ChainLength
from tests.support.clusters import Kafka, fresh_config
from tests.support.damage import delete_events, flipped, spoil_snapshots
from tests.support.sessions import append
from tests.support.stage import Stage, compacting

pytestmark = pytest.mark.kafka

CHANGES = 9


@pytest.fixture(scope="module")
def config(headwater_kafka: Kafka) -> Config:
    """One partition, so that everything is damaged at once."""
    return fresh_config(headwater_kafka, partitions=1)


@pytest.fixture(scope="module")
def hashes(config: Config) -> dict[str, bytes]:
    """Agents with several chains of snapshots each, and the hashes of their states."""
    with headwater.connect(config) as hw:
        fill(config, hw, "older", "events", "lost", "half")
        return {name: hw.recover(name).state_hash for name in hw.agents()}


@pytest.fixture(scope="module")
def hw(config: Config, hashes: dict[str, bytes]) -> Iterator[Client]:
    """A connection made after the agents."""
    with headwater.connect(config) as client:
        yield client


def fill(config: Config, hw: Client, *names: str) -> None:
    """Change agents again and again, with a commit after each change."""
    stage = Stage(config)
    settings = {"strategy": ChainLength(longest=2), "timing": Timing(commit_s=0.02)}
    with compacting(config, **settings):
        for number in range(CHANGES):
            for name in names:
                with hw.agent(name, session="s-1") as agent, agent.change() as state:
                    state.messages.append(f"message {number}")
                    state.status, state.step = "working", number + 1
            stage.await_end()
    stage.close()


def entry_of(config: Config, name: str) -> IndexEntry:
    """An agent's index entry."""
    stage = Stage(config)
    entry = stage.entry(name)
    stage.close()
    assert entry is not None
    return entry


def keys_of(config: Config, name: str) -> list[bytes]:
    """The keys of every snapshot that the log holds of an agent."""
    stage = Stage(config)
    found = {m.key() or b"" for m in stage.read("snapshots")}
    stage.close()
    return sorted(key for key in found if key.startswith(name.encode() + b"\0"))


def newest_keys(config: Config, name: str) -> list[bytes]:
    """The keys of the snapshots that are listed."""
    return [
        f"{name}\0{p.from_version}-{p.to_version}".encode()
        for p in entry_of(config, name).snapshots
    ]


def test_an_older_snapshot_leads_to_the_head(
    config: Config, hw: Client, hashes: dict[str, bytes]
) -> None:
    """With the listed full snapshot spoiled, the chain before it leads there, without an event."""
    full = newest_keys(config, "older")[0]
    spoil_snapshots(config, 0, [full], flipped)
    found = hw.recover("older")
    assert found.state_hash == hashes["older"]
    assert [t.layer for t in found.tried][-1] == OLDER
    assert any(t.layer == OLDER and t.refused for t in found.tried[:-1])
    assert found.warnings


def test_events_lead_to_the_head_where_no_snapshot_does(
    config: Config, hw: Client, hashes: dict[str, bytes]
) -> None:
    """With every snapshot spoiled, the whole log is replayed."""
    spoil_snapshots(config, 0, keys_of(config, "events"), flipped)
    found = hw.recover("events")
    assert found.state_hash == hashes["events"]
    assert found.tried[-1].layer == EVENTS and found.tried[-1].refused is None
    (again,) = hw.recover_many(["events"])
    assert again.state_hash == hashes["events"]  # type: ignore[union-attr]


def test_repair_keeps_the_last_proved_state(config: Config, hw: Client) -> None:
    """What nothing proves is refused; a repair goes on from what is proved, lists what it drops,
    and sets it aside; others are not touched.
    """
    entry = entry_of(config, "half")
    spoilt = {key for key in keys_of(config, "half") if not key.startswith(b"half\x001-")}
    spoil_snapshots(config, 0, spoilt, flipped)
    spoil_snapshots(config, 0, keys_of(config, "lost"), lambda _: None)
    stage = Stage(config)
    own = [m.offset() or 0 for m in stage.read("events") if m.key() == b"half"]
    delete_events(config, 0, own[-8])
    with pytest.raises(Unprovable, match="headwater repair half") as refused:
        hw.recover("half")
    tried = {text.partition(":")[0].partition(" at ")[0] for text in refused.value.tried}
    assert tried >= {OLDER, EVENTS}
    with pytest.raises(Unprovable), hw.agent("half"):
        pass
    planned = hw.repair("half", dry_run=True)
    assert planned.head == entry.head.version == CHANGES
    assert 0 < planned.version < CHANGES
    with pytest.raises(Unprovable):
        hw.recover("half")
    environment = {
        "HEADWATER_BOOTSTRAP_SERVERS": config.bootstrap_servers,
        "HEADWATER_PREFIX": config.prefix,
        "HEADWATER_PROFILE": "fast",
    }
    result = CliRunner().invoke(cli, ["repair", "half", "--yes"], env=environment)
    assert result.exit_code == 0, result.output
    found = hw.recover("half")
    assert found.state.step == planned.version
    assert found.state.messages == [f"message {n}" for n in range(planned.version)]
    letters = [m.value() or b"" for m in stage.read("dead-letters")]
    assert len(letters) == len(planned.dropped) > 0
    stage.close()
    with hw.agent("half") as agent:
        append(agent, "on")
    with compacting(config):
        again = Stage(config)
        again.await_end()
        again.close()
    found = hw.recover("half")
    assert (found.state.messages[-1], found.warnings) == ("on", ())
    assert hw.repair("half").broken is False


def test_an_agent_of_which_nothing_is_left_begins_anew(config: Config, hw: Client) -> None:
    """Its head stays: nothing old can ever count again. Its state is the empty one."""
    with pytest.raises(Unprovable):
        hw.recover("lost")
    done = hw.repair("lost")
    assert (done.version, done.head) == (0, CHANGES)
    found = hw.recover("lost")
    assert (found.state.messages, found.version) == ([], CHANGES + 1)


def test_a_lost_graph_is_rebuilt_in_its_order(config: Config, hw: Client) -> None:
    """What others derive from comes first; what can be recovered is left alone."""
    topic = config.topic("dead-letters")
    with hw.agent("source") as agent, agent.change() as state:
        state.data["n"] = 5
        state.status = "known"
    order: list[str] = []

    def middle(given: Dependencies) -> AgentState:
        order.append("middle")
        records = sum(1 for _ in given.topics[topic])
        data = {"double": 2 * given.agents["source"].data["n"], "records": records}
        return AgentState("middle", status="derived", data=data)

    def top(given: Dependencies) -> AgentState:
        order.append("top")
        return AgentState(
            "top", status="derived", data={"sum": given.agents["middle"].data["double"] + 1}
        )

    hw.derive("top", top, agents=["middle"])
    hw.derive("middle", middle, agents=["source"], topics=[topic])
    with pytest.raises(ConfigError, match=r"source -> middle|middle -> source"):
        hw.derive("source", middle, agents=["middle"])
    found = hw.reconstruct()
    assert [(f.agent_id, f.lost, f.error) for f in found] == [
        ("middle", True, None),
        ("top", True, None),
    ]
    assert order == ["middle", "top"]
    assert hw.recover("top").state.data == {"sum": 11}
    assert hw.recover("middle").state.data["records"] > 0
    assert [f.lost for f in hw.reconstruct(["top"])] == [False, False]


def test_a_derivation_that_fails_names_itself(hw: Client) -> None:
    """One that cannot be made does not hold up those that do not derive from it."""

    def broken(given: Dependencies) -> AgentState:
        raise KeyError("no such thing")

    def fine(given: Dependencies) -> AgentState:
        return AgentState("fine", status="derived")

    hw.derive("broken", broken, agents=["source"])
    hw.derive("fine", fine, agents=["source"])
    found = {f.agent_id: f for f in hw.reconstruct(["broken", "fine"])}
    assert isinstance(found["broken"].error, InvalidState)
    assert "no such thing" in str(found["broken"].error)
    assert found["fine"].error is None and found["fine"].lost
