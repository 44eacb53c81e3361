"""Which version of an application's own layout a state has.

It is in the state itself, so that it goes wherever the state goes: through snapshots, checkpoints,
time travel and forks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.errors import InvalidState

STATE_VERSION = "headwater.state_version"
"""The key in ``metadata`` that holds the version, an int; a state without it has version 1."""


def version_of(agent_id: str, session_id: str, metadata: Mapping[str, Any]) -> int | None:
    """The version of a state, or None before its first change, which is what ``session_id`` shows.

    Raises :class:`InvalidState` where the key holds anything but an int above 0.
    """
    if STATE_VERSION not in metadata:
        return 1 if session_id else None
    version = metadata[STATE_VERSION]
    if type(version) is not int or version < 1:
        raise InvalidState(
            f"agent {agent_id!r}: metadata[{STATE_VERSION!r}] is no version: {version!r}",
            "state_version",
        )
    return version
