"""What every session has, with a claim or without one."""

from __future__ import annotations

from headwater.agent.body import Body
from headwater.agent.claim import Claimant
from headwater.agent.parts import Parts
from headwater.errors import HeadwaterError
from headwater.recovery import Recovered
from headwater.state.draft import StateView
from headwater.state.model import AgentState


class SessionBase:
    """One agent's state inside a session. ``recovered`` is what it was opened with."""

    def __init__(self, parts: Parts, who: Claimant, recovered: Recovered) -> None:
        self._parts = parts
        self._who = who
        self._partition = recovered.partition
        self._blocked: HeadwaterError | None = None
        self.recovered = recovered
        self._body = Body(
            who.agent_id,
            recovered.agent.document,
            session_id=who.session_id,
            request_id=who.request_id,
            max_state_bytes=parts.config.max_state_bytes,
            max_change_bytes=parts.config.max_change_bytes,
        )

    @property
    def agent_id(self) -> str:
        """The agent."""
        return self._who.agent_id

    @property
    def session_id(self) -> str:
        """The session."""
        return self._who.session_id

    @property
    def state(self) -> StateView:
        """The state, to be read; ``change()`` changes it."""
        return self._body.view

    def copy(self) -> AgentState:
        """A plain copy of the state, the caller's to keep."""
        return self._body.copy()

    def block(self, error: HeadwaterError) -> None:
        """Let every later call raise ``error``."""
        self._blocked = error
