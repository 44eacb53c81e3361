"""Sessions that are given up at the end of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from headwater.agent.session import Session
from headwater.errors import HeadwaterError


@contextmanager
def releasing(session: Session) -> Iterator[Session]:
    """Gives a session up at the end of a block, whose own exception is the one to tell."""
    try:
        yield session
    except BaseException:
        with suppress(HeadwaterError):
            session.release()
        raise
    session.release()
