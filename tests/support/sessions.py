"""What tests of sessions do again and again."""

from __future__ import annotations

from headwater.agent.session import Session


def append(session: Session, value: object, *, wait: bool = True) -> int:
    """One change that appends a message; the version that it makes."""
    with session.change(wait=wait) as state:
        state.messages.append(value)
    return session.version
