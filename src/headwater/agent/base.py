"""What every session has, with a claim or without one."""

from __future__ import annotations

from headwater.agent.body import Body
from headwater.agent.claim import Claimant
from headwater.agent.parts import Parts
from headwater.errors import HeadwaterError
from headwater.log.checkpoints import Checkpoint, noted
from headwater.log.notes import Note
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
            code_version=parts.state_version,
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

    def expect_version(self, version: int) -> None:
        """The next change brings the state to that version of its layout."""
        self._body.state_version = version

    def copy(self) -> AgentState:
        """A plain copy of the state, the caller's to keep."""
        return self._body.copy()

    @property
    def size_bytes(self) -> int:
        """About what the state takes, packed; never less."""
        return self._body.size_bytes

    @property
    def ended(self) -> bool:
        """Whether every later call raises: given up, fenced, or its connection closed."""
        return self._blocked is not None

    @property
    def exists(self) -> bool:
        """Whether the log knows the agent, as far as this session has read it."""
        return True

    def _made(
        self, note: Note, version: int, sequence: int, chain_hash: bytes, now_ms: int
    ) -> Checkpoint:
        """The checkpoint as the log will have it once the note stands at that head."""
        return Checkpoint(
            checkpoint_id=note.id,
            agent_id=self.agent_id,
            type=note.type,
            version=version,
            sequence=sequence,
            hash=chain_hash,
            **noted(note),
            session_id=self.session_id,
            request_id=self._who.request_id,
            node_id=self._parts.lease.node_id,
            created_at=now_ms,
        )

    def block(self, error: HeadwaterError) -> None:
        """Let every later call raise ``error``."""
        self._blocked = error
