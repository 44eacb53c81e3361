"""What an agent was before its last restore."""

from __future__ import annotations

from headwater.errors import PointNotFound
from headwater.log.checkpoints import Checkpoint
from headwater.recovery.checkpoints import list_checkpoints
from headwater.recovery.recover import Recovery

RESTORES = "restores"
"""The key in the metadata of a checkpoint that says which version a restore led back to; the
checkpoint itself is of the version from before."""


def before_last_restore(recovery: Recovery, agent_id: str) -> Checkpoint:
    """The checkpoint that the newest restore left behind.

    Raises :class:`AgentNotFound`, and :class:`PointNotFound` where there is none (any more).
    """
    for checkpoint in list_checkpoints(recovery, agent_id):
        if RESTORES in checkpoint.details:
            return checkpoint
    raise PointNotFound(f"agent {agent_id!r}: no restore is known that could be undone")
