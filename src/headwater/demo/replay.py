"""All events, folded from the first one on without any snapshot: a second way to the states."""

from __future__ import annotations

from headwater.config import Config
from headwater.kafka import clients
from headwater.kafka.reader import Reader
from headwater.log.fold import Agent, fold, new_agent
from headwater.log.records import parse
from headwater.state.model import state_hash


def replay(config: Config, partitions: int) -> dict[str, bytes]:
    """SHA-256 of each agent's state, by its id."""
    agents: dict[str, Agent] = {}
    reader = Reader(config, clients.SCANS)
    try:
        for partition in range(partitions):
            for batch in reader.scan(config.topic("events"), partition, None):
                for message in batch:
                    change = parse(message.key(), message.value())
                    agent = agents.setdefault(change.agent_id, new_agent(change.agent_id))
                    fold(agent, change)
    finally:
        reader.close()
    return {name: state_hash(name, agent.document) for name, agent in agents.items()}
