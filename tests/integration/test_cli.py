"""The commands against a real Kafka: what they print, and what they exit with."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import TopicPartition

import headwater
from headwater import Client, Config
from headwater.cli import cli
from headwater.cli.errors import Exit
from headwater.cli.tagged import from_tagged
from headwater.kafka import clients
from headwater.log.sealing import decode_snapshot, encode_snapshot
from headwater.log.snapshots import IndexEntry, Snapshot, encode_entry, full_snapshot
from headwater.recovery import Recovery
from headwater.recovery.bulk import agent_heads
from headwater.state.patch import encode_patch
from streams.snapshots import Compactor
from tests.support.clusters import Kafka, fresh_config
from tests.support.rivals import encoder, inject

pytestmark = pytest.mark.kafka

WHEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
VALUES = {"when": WHEN, "price": Decimal("1.10"), "raw": b"\x00", "pair": (1, 2.0), "$x": {1}}


@pytest.fixture(scope="module")
def config(headwater_kafka: Kafka) -> Config:
    """Settings of this module's own topics."""
    return fresh_config(headwater_kafka)


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Commands set the levels of loggers; other tests get them back as they were."""
    names = ("headwater", "headwater.kafka", "headwater.recovery")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="module")
def filled(config: Config) -> Config:
    """Agents of each sort, in snapshots and in the tail."""
    with headwater.connect(config) as hw:
        for name in ("alpha", "beta", "victim"):
            fill(hw, name, 30)
        with hw.agent("deleted") as agent, agent.change() as state:
            state.status = "soon gone"
        hw.delete("deleted")
        compact(config)
        fill(hw, "beta", 3)
        add_refused_records(hw, "beta")
        fill(hw, "late", 2)
    return config


def fill(hw: Client, name: str, changes: int) -> None:
    """Give an agent so many changes."""
    with hw.agent(name, session="s-1", request="r-1") as agent:
        for number in range(changes):
            with agent.change(wait=False) as state:
                state.messages.append({"role": "user", "content": f"message {number}"})
                state.data.update(VALUES, number=number)
                state.status = "working"
                state.step += 1


def add_refused_records(hw: Client, name: str) -> None:
    """A conflict, a repeat, a patch that does not apply, and bytes that nobody can read."""
    head = hw.get(name).head
    writer = encoder(head, nonce=None)
    wrong = writer.record("CHANGE", bytes(32), head.sequence + 1, encode_patch([]), 0)
    useless = encode_patch([(1, ["data", "not", "there"])])
    good = writer.record("CHANGE", head.hash, head.sequence + 1, useless, 0)
    inject(hw.config, hw.partitions, name, wrong, good, good, b"rubbish")


def compact(config: Config) -> None:
    """Run a compactor until the index is up to date."""
    compactor, stop = Compactor(config.with_(node_id="compactor")), threading.Event()
    thread = threading.Thread(target=compactor.run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + 60
    while not (len(compactor.stats().partitions) == 4 and compactor.stats().lag == 0):
        assert time.monotonic() < deadline, compactor.stats()
        time.sleep(0.05)
    stop.set()
    thread.join()


def run(config: Config, *arguments: str) -> Result:
    """A command, with the module's Kafka and topics in its environment."""
    environment = {
        "HEADWATER_BOOTSTRAP_SERVERS": config.bootstrap_servers,
        "HEADWATER_PREFIX": config.prefix,
    }
    return CliRunner().invoke(cli, arguments, env=environment, prog_name="headwater")


def run_json(config: Config, *arguments: str, code: Exit = Exit.OK) -> Any:
    """The JSON that a command prints."""
    result = run(config, *arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_agents_lists_heads(filled: Config) -> None:
    """Every agent that exists is listed with its head, from the index and from the tail."""
    found = {each["agent_id"]: each for each in run_json(filled, "agents")}
    assert list(found) == ["alpha", "beta", "late", "victim"]
    assert found["alpha"]["version"] == 30
    assert found["alpha"]["snapshots"] >= 1
    assert (found["late"]["version"], found["late"]["snapshots"]) == (2, 0)
    assert found["alpha"]["owner"] is None
    result = run(filled, "agents", "--long")
    assert result.exit_code == Exit.OK
    assert result.stdout.splitlines()[0].split()[:3] == ["ID", "VERSION", "EPOCH"]


def test_agents_names_the_owner(filled: Config) -> None:
    """While somebody owns an agent, its node is named."""
    with headwater.connect(filled.with_(node_id="web-1")) as hw, hw.agent("alpha"):
        found = {each["agent_id"]: each for each in run_json(filled, "agents")}
        assert found["alpha"]["owner"] == "web-1"
        assert "web-1" in run(filled, "agents").stdout


def test_show_gives_the_whole_state_back(filled: Config) -> None:
    """The JSON of a state, read back, is the state, types included."""
    found = run_json(filled, "show", "alpha")
    with headwater.connect(filled) as hw:
        recovered = hw.get("alpha")
    state = headwater.AgentState.from_document("alpha", from_tagged(found["state"]))
    assert state == recovered.state
    assert found["state_hash"] == recovered.state_hash.hex()
    assert run_json(filled, "show", "alpha", "--field", "data.price") == {"$decimal": "1.10"}
    shown = run(filled, "show", "alpha")
    assert "Decimal('1.10')" in shown.stdout
    last = run(filled, "show", "alpha", "--field", "messages[-1].content")
    assert last.stdout == "message 29\n"


@pytest.mark.parametrize("command", ["show", "history", "recover", "verify"])
def test_an_unknown_agent_is_not_found(filled: Config, command: str) -> None:
    """Whatever is asked about an agent that is not there exits with 3."""
    result = run(filled, command, "nobody")
    assert result.exit_code == Exit.NOT_FOUND, result.output
    assert "nobody" in result.stderr


def test_history_tells_what_became_of_each_record(filled: Config) -> None:
    """Records are listed in order, with what the fold made of each."""
    found = run_json(filled, "history", "beta")
    assert [each["offset"] for each in found] == sorted(each["offset"] for each in found)
    assert [each["kind"] for each in found[:2]] == ["CLAIM", "CHANGE"]
    outcomes = [each["outcome"] for each in found[-4:]]
    assert outcomes == ["conflict", "not applicable", "repeat", "undecodable"]
    assert "new message" in found[1]["description"]
    limited = run(filled, "history", "beta", "--limit", "2")
    assert [line.split()[1] for line in limited.stdout.splitlines()] == ["KIND", "CHANGE", "-"]


def test_recover_tells_what_it_read(filled: Config) -> None:
    """Each agent's recovery is reported; one that fails is, too, and the others still are."""
    found = {each["agent_id"]: each for each in run_json(filled, "recover", "--all")}
    assert found["alpha"]["snapshots"] >= 1
    assert found["late"]["tail_records"] == found["late"]["records"] >= 3
    assert found["beta"]["inapplicable"] == 1
    one, other = run_json(filled, "recover", "alpha", "nobody", code=Exit.NOT_FOUND)
    assert one["state_hash"] == found["alpha"]["state_hash"]
    assert other["kind"] == "AgentNotFound"
    assert run(filled, "recover").exit_code == Exit.USAGE
    assert run(filled, "recover", "--all", "alpha").exit_code == Exit.USAGE


def test_verify_proves_every_agent(filled: Config) -> None:
    """A replay from the first event gives what recovery and snapshots give."""
    found = {each["agent_id"]: each for each in run_json(filled, "verify")}
    assert found["alpha"]["ok"]
    assert found["alpha"]["from_version"] == 0
    assert found["alpha"]["snapshots"] >= 1
    assert found["beta"]["outcomes"]["conflict"] == 1
    assert found["beta"]["outcomes"]["undecodable"] == 1
    assert run_json(filled, "verify", "late")[0]["agent_id"] == "late"
    assert "ok" in run(filled, "verify", "alpha").stdout


@pytest.fixture
def forged(filled: Config) -> Iterator[Recovery]:
    """The victim's index entry points to a snapshot of another state, with a good checksum."""
    recovery = Recovery(filled, 4)
    entry = next(each for each in agent_heads(recovery) if each.head.agent_id == "victim")
    agent = recovery.recover("victim").agent
    agent.document["status"] = "forged"
    forged = full_snapshot(agent, events_offset=10**6, node_id="forger", created_at=0)
    offset = write(filled, "snapshots", recovery, forged.snapshot_id, encode_snapshot(forged))
    pointer = msgspec.structs.replace(
        entry.snapshots[0],
        offset=offset,
        from_version=forged.from_version,
        to_version=forged.to_version,
    )
    lie = IndexEntry(entry.head, forged.to_hash, (pointer,))
    write(filled, "index", recovery, "victim", encode_entry(lie))
    yield recovery
    write(filled, "index", recovery, "victim", encode_entry(entry))
    recovery.close()


def write(config: Config, topic: str, recovery: Recovery, key: str, value: bytes) -> int:
    """Append one record to the victim's partition of a topic; its offset."""
    offsets: list[int] = []
    producer = clients.producer(config)
    producer.produce(
        config.topic(topic),
        value,
        key.encode(),
        recovery.partition_of("victim"),
        lambda error, message: offsets.append(message.offset() or 0),
    )
    producer.flush(30)
    return offsets[0]


def test_verify_finds_a_forged_snapshot(filled: Config, forged: Recovery) -> None:
    """A snapshot of another state is found, though its own checksums are right."""
    found = {each["agent_id"]: each for each in run_json(filled, "verify", code=Exit.FAILED)}
    assert found["alpha"]["ok"]
    problems = " ".join(found["victim"]["problems"])
    assert "holds another state than the replay" in problems
    assert "recovery gives state" in problems
    result = run(filled, "verify", "victim")
    assert result.exit_code == Exit.FAILED
    assert "victim FAILED" in result.stderr
    assert isinstance(decode_snapshot(read_snapshot(filled, forged)), Snapshot)


def read_snapshot(config: Config, recovery: Recovery) -> bytes:
    """The value of the snapshot that the victim's entry points to."""
    partition = recovery.partition_of("victim")
    entry = recovery.index(partition).entry(b"victim")
    assert entry is not None
    with recovery.points.lend() as reader:
        message = reader.get(config.topic("snapshots"), partition, entry.snapshots[0].offset)
    assert message is not None
    return message.value() or b""


def test_a_log_whose_beginning_was_deleted(config: Config) -> None:
    """Replays start from the full snapshot that stands for the deleted events, and say so."""
    short = config.with_(prefix=f"{config.prefix}short.")
    with headwater.connect(short) as hw:
        fill(hw, "alpha", 10)
        compact(short)
        fill(hw, "alpha", 3)
        partition = hw.get("alpha").partition
    recovery = Recovery(short, 4)
    entry = recovery.index(partition).entry(b"alpha")
    assert entry is not None
    with recovery.points.lend() as reader:
        message = reader.get(short.topic("snapshots"), partition, entry.snapshots[0].offset)
    recovery.close()
    assert message is not None
    full = decode_snapshot(message.value() or b"")
    below = TopicPartition(short.topic("events"), partition, full.events_offset)
    admin = clients.admin(short)
    admin.delete_records([below])[below].result()
    (found,) = run_json(short, "verify")
    assert (found["ok"], found["from_version"], found["version"]) == (True, full.to_version, 13)
    records = run_json(short, "history", "alpha")
    assert records[0]["offset"] >= full.events_offset
    assert {each["outcome"] for each in records} == {"admitted"}


def test_doctor_says_what_is_wrong(filled: Config) -> None:
    """Without a compactor the events after the snapshots are a problem, told with its remedy."""
    found = run_json(filled, "doctor", code=Exit.FAILED)
    checks = {each["check"]: each for each in found["findings"]}
    assert checks["topics"]["level"] == "ok"
    assert checks["compactor"]["level"] == "problem"
    assert checks["compactor"]["details"]["lag"] > 0
    assert len(checks["compactor"]["details"]["partitions"]) == 4
    assert "headwater compact" in run(filled, "doctor").stdout


def test_an_untouched_cluster_is_empty(config: Config) -> None:
    """Where nothing was ever published lists are empty, and doctor makes the topics if told to."""
    new = config.with_(prefix=f"{config.prefix}new.")
    assert run_json(new, "agents") == []
    assert run_json(new, "recover", "--all") == []
    assert run_json(new, "verify") == []
    assert run(new, "show", "alpha").exit_code == Exit.NOT_FOUND
    assert run(new, "doctor").exit_code == Exit.FAILED
    fixed = run(new, "doctor", "--fix")
    assert fixed.exit_code == Exit.OK, fixed.output
    assert "Making topics" in fixed.stderr
    assert run_json(new, "agents") == []


def test_ids_are_completed(filled: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell is offered the ids that begin with what was typed."""
    words = {"COMP_WORDS": "headwater show l", "COMP_CWORD": "2"}
    for name, value in (words | {"_HEADWATER_COMPLETE": "bash_complete"}).items():
        monkeypatch.setenv(name, value)
    result = run(filled)
    assert result.stdout.split() == ["plain,late"]


def test_a_refused_connection_is_not_a_timeout(filled: Config) -> None:
    """Where the brokers refuse the credentials, commands exit with 4 and say what to check."""
    environment = {
        "HEADWATER_READ_TIMEOUT": "1",
        "HEADWATER_BOOTSTRAP_SERVERS": filled.bootstrap_servers,
        "HEADWATER_KAFKA_SECURITY_PROTOCOL": "sasl_plaintext",
        "HEADWATER_KAFKA_SASL_MECHANISM": "PLAIN",
        "HEADWATER_KAFKA_SASL_USERNAME": "someone",
        "HEADWATER_KAFKA_SASL_PASSWORD": "something",
    }
    result = CliRunner().invoke(cli, ["agents"], env=environment)
    assert result.exit_code == Exit.AUTHENTICATION, result.output
    assert "security.protocol" in result.stderr


def test_no_kafka_is_a_timeout() -> None:
    """Where nobody listens commands exit with 5 and say where they looked."""
    environment = {"HEADWATER_READ_TIMEOUT": "1", "HEADWATER_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    result = CliRunner().invoke(cli, ["agents"], env=environment)
    assert result.exit_code == Exit.TIMEOUT
    assert "127.0.0.1:1" in result.stderr
    assert "Connection refused" in result.stderr
    doctor = CliRunner().invoke(cli, ["doctor"], env=environment)
    assert doctor.exit_code == Exit.FAILED
    assert "headwater up" in doctor.stdout
