"""States that derive from others: what is lost of them can be made anew, in the right order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from headwater.config import Config
from headwater.errors import ConfigError
from headwater.kafka import clients
from headwater.kafka.errors import mapped
from headwater.kafka.reader import Reader
from headwater.log.records import check_agent_id
from headwater.state.model import AgentState


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRecord:
    """One record of a topic that a state derives from. ``timestamp_ms``: since 1970."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What a derivation is given: states of agents by id, and topics' records, read when they are
    iterated over, partition by partition.
    """

    agents: Mapping[str, AgentState]
    topics: Mapping[str, Iterable[TopicRecord]]


Derive = Callable[[Dependencies], AgentState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """How an agent's state derives from agents and topics."""

    agent_id: str
    agents: tuple[str, ...]
    topics: tuple[str, ...]
    derive: Derive


class Derivations:
    """What was declared in this process; a cycle is refused where it would be closed."""

    def __init__(self) -> None:
        self._declared: dict[str, Derivation] = {}

    def declare(self, derivation: Derivation) -> None:
        """Add one, in place of an earlier one for the same agent.

        Raises :class:`ConfigError` where states would derive from each other in a circle, or a
        state from nothing.
        """
        for agent_id in (derivation.agent_id, *derivation.agents):
            check_agent_id(agent_id)
        if not derivation.agents and not derivation.topics:
            raise ConfigError(f"agent {derivation.agent_id!r}: name what its state derives from")
        declared = {**self._declared, derivation.agent_id: derivation}
        _order(declared)
        self._declared = declared

    def get(self, agent_id: str) -> Derivation | None:
        """The one for an agent, if there is one."""
        return self._declared.get(agent_id)

    def ordered(self, agent_ids: Iterable[str] | None = None) -> list[Derivation]:
        """Those for ``agent_ids`` (None: all), and for what they depend on, that first."""
        order = [self._declared[name] for name in _order(self._declared) if name in self._declared]
        if agent_ids is None:
            return order
        wanted = set(agent_ids)
        unknown = sorted(wanted - self._declared.keys())
        if unknown:
            raise ConfigError(f"nothing was declared of what {', '.join(unknown)} derive from")
        for derivation in reversed(order):
            if derivation.agent_id in wanted:
                wanted.update(derivation.agents)
        return [derivation for derivation in order if derivation.agent_id in wanted]


def _order(declared: Mapping[str, Derivation]) -> Sequence[str]:
    graph = {name: derivation.agents for name, derivation in declared.items()}
    try:
        return tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise ConfigError(f"these states would derive from each other: {circle}") from error


class TopicRecords:
    """A whole topic, as its end is when it is iterated over."""

    def __init__(self, config: Config, topic: str) -> None:
        self._config = config
        self._topic = topic

    def __iter__(self) -> Iterator[TopicRecord]:
        reader = Reader(self._config, clients.SCANS)
        try:
            for partition in self._partitions():
                for batch in reader.scan(self._topic, partition, None):
                    for message in batch:
                        yield TopicRecord(
                            partition=partition,
                            offset=message.offset() or 0,
                            key=message.key(),
                            value=message.value(),
                            timestamp_ms=message.timestamp()[1],
                        )
        finally:
            reader.close()

    def _partitions(self) -> list[int]:
        timeout_s = self._config.read_timeout.total_seconds()
        with mapped(f"asking for the partitions of {self._topic}"):
            metadata = clients.admin(self._config).list_topics(self._topic, timeout=timeout_s)
        found = sorted(metadata.topics[self._topic].partitions)
        if not found:
            raise ConfigError(f"there is no topic {self._topic!r} to derive a state from")
        return found
