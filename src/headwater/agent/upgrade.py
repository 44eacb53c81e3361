"""Brings the state of a session that was just opened to the version that the code knows."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from headwater.agent.session import Session
from headwater.agent.unclaimed import UnclaimedSession
from headwater.errors import Conflict
from headwater.migrations import Migrations
from headwater.state.draft import StateView, plain
from headwater.state.model import FIELDS, AgentState
from headwater.state.values import same

log = logging.getLogger("headwater.migrations")

_TRIES = 5


def upgrade(session: Session | UnclaimedSession, migrations: Migrations) -> None:
    """Publish the upgraded state as one change, if it is needed: all steps or none.

    Raises :class:`StateTooNew`, :class:`UpgradeFailed` and what a change raises; the session is
    then the caller's to end. Without a claim, :class:`Conflict` only after several tries.
    """
    for attempt in range(1, _TRIES + 1):
        view = session.state
        version = migrations.needed(session.agent_id, view.session_id, plain(view.metadata))
        if version is None:
            return
        before = session.copy()
        after = migrations.apply(session.copy(), version)
        session.expect_version(migrations.current)
        try:
            if isinstance(session, Session):
                session.replace(after)
            else:
                with session.change() as draft:
                    _assign(draft, before, after)
        except Conflict:
            if attempt == _TRIES:
                raise
            continue
        session.recovered = dataclasses.replace(session.recovered, upgraded_from=version)
        log.info(
            "agent %s: state upgraded from version %d to %d",
            session.agent_id, version, migrations.current,
        )  # fmt: skip
        return


def _assign(draft: StateView, before: AgentState, after: AgentState) -> None:
    """Make the draft, which is ``before``, equal to ``after``: maps key by key, others whole."""
    for name in FIELDS:
        old, new = getattr(before, name), getattr(after, name)
        if name in ("session_id", "request_id"):
            continue  # the session's own
        if isinstance(old, dict) and isinstance(new, dict):
            _assign_map(getattr(draft, name), old, new)
        elif not same(old, new):
            setattr(draft, name, new)


def _assign_map(draft: Any, old: dict[str, Any], new: dict[str, Any]) -> None:
    for key in old.keys() - new.keys():
        del draft[key]
    for key, value in new.items():
        if key not in old or not same(old[key], value):
            draft[key] = value
