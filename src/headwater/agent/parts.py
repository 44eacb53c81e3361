"""What a connection and its sessions share."""

from __future__ import annotations

from dataclasses import dataclass

from headwater.agent.claim import Claimer
from headwater.agent.lease import Lease
from headwater.agent.publisher import Publisher
from headwater.config import Config
from headwater.recovery import Recovery


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a connection gives to its sessions."""

    config: Config
    recovery: Recovery
    lease: Lease
    publisher: Publisher
    claimer: Claimer
    live_nonces: set[bytes]
    state_version: int | None = None
    """The version of the code's states; None where it has no migrations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of changes that were in doubt: versions that are in the log, and that are not;
    and ids of checkpoints that are not.
    """

    applied: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    dropped_checkpoints: tuple[str, ...] = ()
