"""Begins an agent with a state that comes from outside the log."""

from __future__ import annotations

from headwater.agent.session import Session
from headwater.agent.whole import put_whole
from headwater.log.checkpoints import Checkpoint
from headwater.state.model import Document


def put_imported(session: Session, checkpoint: Checkpoint, document: Document) -> None:
    """Make ``document``, a checkpoint's state, of the new agent's empty one."""
    put_whole(
        session,
        document,
        agent_id=checkpoint.agent_id,
        version=checkpoint.version,
        chain_hash=checkpoint.hash,
    )
