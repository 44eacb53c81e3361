"""Recovery: from index, snapshots and tail back to an agent, with proof of what came back."""

from __future__ import annotations

from headwater.recovery.model import Failed, Recovered
from headwater.recovery.recover import Recovery

__all__ = ["Failed", "Recovered", "Recovery"]
