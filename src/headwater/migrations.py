"""Versions of an application's states, and the functions that lead from each to the next."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import TypeVar

from headwater.errors import ConfigError, HeadwaterError, StateTooNew, UpgradeFailed
from headwater.recovery.model import Failed, Recovered
from headwater.state.model import AgentState, Document
from headwater.state.version import STATE_VERSION, version_of

log = logging.getLogger("headwater.migrations")

Upgrade = Callable[[AgentState], AgentState | None]
"""Changes a state of one version into one of the next, in place or by returning another one."""

_U = TypeVar("_U", bound=Upgrade)


class Migrations:
    """The upgrade functions of an application, each from one version to the next.

    ::

        migrations = Migrations()


        @migrations.upgrade(from_version=1)
        def name_the_plan(state):
            state.data["plan"] = state.data.pop("todo", [])


        with headwater.connect(migrations=migrations) as hw:
            ...

    Without any, the code's version is 1. A function gets a state of its own; it must depend on
    that alone, since it may be called again, and for reading only.
    """

    def __init__(self) -> None:
        self._steps: dict[int, Upgrade] = {}

    def upgrade(self, *, from_version: int) -> Callable[[_U], _U]:
        """Register a function that leads from ``from_version`` to the version after it."""
        if from_version < 1:
            raise ConfigError(f"versions of states begin at 1, not {from_version}")
        if from_version in self._steps:
            raise ConfigError(f"there are two upgrades from version {from_version} of states")

        def register(function: _U) -> _U:
            self._steps[from_version] = function
            return function

        return register

    @property
    def current(self) -> int:
        """The version of the code's own states: that after the last upgrade."""
        return max(self._steps, default=0) + 1

    def check(self) -> None:
        """:class:`ConfigError` where versions are missing between the first and the last."""
        missing = [version for version in range(1, self.current) if version not in self._steps]
        if missing:
            raise ConfigError(
                f"no upgrade of states from version {', '.join(map(str, missing))}, and the "
                f"newest version is {self.current}"
            )

    def needed(self, agent_id: str, session_id: str, metadata: Document) -> int | None:
        """The version from which a state has to be upgraded; None where it is at the code's, or
        did not change yet. Raises :class:`StateTooNew`.
        """
        version = version_of(agent_id, session_id, metadata)
        if version is None or version == self.current:
            return None
        if version > self.current:
            raise StateTooNew(
                f"agent {agent_id!r}: its state has version {version}, and this code knows "
                f"versions up to {self.current}; nothing was changed. Run the code that wrote it, "
                "or newer"
            )
        return version

    def apply(self, state: AgentState, version: int) -> AgentState:
        """``state``, the caller's own copy at ``version``, brought to the code's version.

        Raises :class:`UpgradeFailed` for what a function raises, or makes that is no state.
        """
        agent_id = state.agent_id
        for step in range(version, self.current):
            function = self._steps[step]
            try:
                result = function(state)
                if result is not None:
                    state = _state(result)
                state.metadata[STATE_VERSION] = step + 1
                if state.agent_id != agent_id:
                    raise ValueError(f"the state is agent {state.agent_id!r}'s now")
                state.to_document()
            except Exception as error:
                raise UpgradeFailed(agent_id, step, _name(function), error) from error
        return state

    def upgraded(self, recovered: Recovered) -> Recovered:
        """``recovered`` with its state at the code's version, in memory only."""
        agent, agent_id = recovered.agent, recovered.agent_id
        document = agent.document
        version = self.needed(agent_id, document["session_id"], document["metadata"])
        if version is None:
            return recovered
        state = self.apply(AgentState.from_document(agent_id, document), version)
        return dataclasses.replace(
            recovered,
            agent=dataclasses.replace(agent, document=state.to_document()),
            upgraded_from=version,
        )

    def upgraded_or_failed(self, found: Recovered | Failed) -> Recovered | Failed:
        """The same for one of many."""
        if isinstance(found, Failed):
            return found
        try:
            return self.upgraded(found)
        except HeadwaterError as error:
            return Failed(agent_id=found.agent_id, error=error)


def _state(result: object) -> AgentState:
    if not isinstance(result, AgentState):
        raise TypeError(f"it returned {type(result).__name__}, not AgentState or None")
    return result


def _name(function: Upgrade) -> str:
    return getattr(function, "__qualname__", repr(function))
