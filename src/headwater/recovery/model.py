"""What a recovery returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from headwater.errors import HeadwaterError
from headwater.log.fold import Agent, Head
from headwater.recovery.layers import Attempt
from headwater.state.model import AgentState, state_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """An agent as the log has it, and what it took to know that.

    ``next_offset`` is where reading of the agent's events partition stopped: every record below
    it is in the state, and a record written since may not be. ``records`` and ``size_bytes``
    count what was read of snapshots and tail (index entries are not counted), ``tail_records``
    those of the agent's own that came after its snapshots. ``warnings`` says which snapshots
    failed their check and were passed over. ``upgraded_from`` is the version that the state has in
    the log, where ``migrations`` made a newer one of it.
    """

    agent: Agent = field(repr=False)
    partition: int
    next_offset: int
    records: int
    size_bytes: int
    snapshots: int
    tail_records: int
    seconds: float
    warnings: tuple[str, ...] = ()
    tried: tuple[Attempt, ...] = ()
    upgraded_from: int | None = None

    @property
    def head(self) -> Head:
        """The end of the agent's chain."""
        return self.agent.head

    @property
    def agent_id(self) -> str:
        """The agent."""
        return self.agent.head.agent_id

    @property
    def version(self) -> int:
        """Version of the state."""
        return self.agent.head.version

    @property
    def inapplicable(self) -> int:
        """Admitted changes that could not be applied, and so changed nothing."""
        return self.agent.inapplicable

    @property
    def state(self) -> AgentState:
        """A plain copy of the state, the caller's to keep."""
        return AgentState.from_document(self.agent_id, self.agent.document)

    @property
    def state_hash(self) -> bytes:
        """SHA-256 of the state in canonical encoding, 32 bytes."""
        return state_hash(self.agent_id, self.agent.document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One agent of many that could not be recovered, and why."""

    agent_id: str
    error: HeadwaterError
