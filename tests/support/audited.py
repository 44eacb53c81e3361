"""What an audit of states is to find: a spoilt snapshot, and owners that say what is not so."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import msgspec

from headwater import Config
from headwater.fleet.feed import Feed, Sender, decoded
from headwater.fleet.records import AgentResult, Command, CommandKind, CommandReply
from headwater.kafka import clients
from headwater.log.snapshots import encode_entry
from headwater.recovery import Recovery
from tests.support.damage import flipped


def spoil(config: Config, partitions: int, agent_id: str) -> bool:
    """Have the index lead to a copy of an agent's last snapshot in which a bit is another one;
    False where it has none yet.
    """
    recovery = Recovery(config, partitions)
    try:
        partition, key = recovery.partition_of(agent_id), agent_id.encode()
        entry, _ = recovery.lookup(partition, key)
        if entry is None or not entry.snapshots:
            return False
        last = entry.snapshots[-1]
        value = recovery.fetch(partition, last.offset)
        assert value is not None
    finally:
        recovery.close()
    producer, offsets = clients.producer(config, linger_ms=0), list[int]()
    name = f"{agent_id}\0{last.from_version}-{last.to_version}".encode()
    producer.produce(
        config.topic("snapshots"),
        flipped(value),
        name,
        partition,
        lambda _, message: offsets.append(message.offset() or 0),
    )
    producer.flush(10)
    moved = msgspec.structs.replace(last, offset=offsets[0])
    entry = msgspec.structs.replace(entry, snapshots=(*entry.snapshots[:-1], moved))
    producer.produce(config.topic("index"), encode_entry(entry), key, partition)
    producer.flush(10)
    return True


@contextlib.contextmanager
def answering(
    config: Config, partitions: int, node_id: str, wrong: dict[str, str]
) -> Iterator[None]:
    """A node that answers VERIFY by what the log says, but for agents in ``wrong`` with the hash
    that is there.
    """
    sender, feed = Sender(config), Feed(config, "commands", "end")
    recovery, stop = Recovery(config, partitions), threading.Event()

    def result(agent_id: str) -> AgentResult:
        found = recovery.recover(agent_id)
        digest = wrong.get(agent_id, found.state_hash.hex())
        return AgentResult(
            agent_id=agent_id, ok=True, version=found.version, detail={"state_hash": digest}
        )

    def work() -> None:
        while not stop.is_set():
            for message in feed.read(0.05):
                command: Command | None = decoded(Command, message)
                if command is None or command.kind is not CommandKind.VERIFY:
                    continue
                reply = CommandReply(
                    command_id=command.command_id,
                    node_id=node_id,
                    results=[result(each.agent_id) for each in command.agents],
                )
                sender.put("replies", node_id, reply)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        recovery.close()
        feed.close()
        sender.close()
