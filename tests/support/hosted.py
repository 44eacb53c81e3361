"""Agents for nodes that are tested: they note what they do, and misbehave when they are told to.

Each step makes one change, as :mod:`tests.support.history` wants them, and notes in a file of the
node's process what it tries and what it was told is done. :func:`tell` has an agent's next step go
wrong in one of the ways of :data:`TROUBLES`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import headwater
from headwater import HostedAgent
from tests.support.history import Notes, payload

DIRECTORY = "HEADWATER_TEST_DIRECTORY"
PAUSE_MS = "HEADWATER_TEST_PAUSE_MS"
DEADLINE_MS = "HEADWATER_TEST_DEADLINE_MS"

TROUBLES = ("hang", "block", "grow", "raise", "die")
"""``hang``: it never returns, and an async one lets others run. ``block``: an async one that does
not. ``grow``: it allocates without end. ``raise``: it fails. ``die``: its process does.
"""

KINDS = ("tests.support.hosted:Steady", "tests.support.hosted:Sturdy")

_ALWAYS = "always"
_CHUNK = 8 << 20
# A process that nothing bounds is not to take the machine with it.
_ENOUGH = 3 << 30


def tell(directory: Path, agent_id: str, trouble: str, *, always: bool = False) -> None:
    """Have the agent's next step (``always``: each from now on) go wrong, wherever it runs."""
    assert trouble in TROUBLES
    path = _order(directory, agent_id)
    partial = path.with_suffix(".partial")
    partial.write_text(f"{trouble} {_ALWAYS if always else ''}".strip())
    partial.replace(path)


def forgive(directory: Path, agent_id: str) -> None:
    """Take that back."""
    _order(directory, agent_id).unlink(missing_ok=True)


def obeyed(directory: Path, agent_id: str) -> bool:
    """Whether the agent's step has begun to go wrong as it was told, once."""
    return not _order(directory, agent_id).exists()


def _order(directory: Path, agent_id: str) -> Path:
    return directory / f"{agent_id}.order"


def _milliseconds(name: str, default: int) -> timedelta:
    return timedelta(milliseconds=int(os.environ.get(name, default)))


class _Writer:
    """What an agent's steps have in common: the notes, and the change."""

    _notes: ClassVar[Notes | None] = None

    def __init__(self) -> None:
        self._name = ""
        self._directory = Path(os.environ[DIRECTORY])

    def trouble(self, agent_id: str) -> str:
        """What is to go wrong now; empty if nothing is."""
        path = _order(self._directory, agent_id)
        try:
            trouble, _, again = path.read_text().partition(" ")
        except FileNotFoundError:
            return ""
        if again != _ALWAYS:
            path.unlink(missing_ok=True)
        return trouble

    def next(self, agent: Any) -> int:
        """The number of the change that comes now; it is noted as tried."""
        if not self._name:
            # A session that claims anew after a doubt goes on under its first epoch's name.
            self._name = f"{os.environ['HEADWATER_NODE_ID']}/{agent.epoch}"
        n = int(agent.state.data.get(self._name, 0)) + 1
        self.notes.note("try", agent.agent_id, self._name, n)
        return n

    def write(self, state: Any, n: int) -> None:
        """Make the change."""
        state.messages.append([self._name, n, payload(self._name, n)])
        state.data[self._name] = n
        state.step += 1
        state.status = "working"

    def done(self, agent_id: str, n: int) -> None:
        """The change was acknowledged."""
        self.notes.note("ack", agent_id, self._name, n)

    @property
    def notes(self) -> Notes:
        """The process's record."""
        if _Writer._notes is None:
            name = f"{os.environ['HEADWATER_NODE_ID']}-{os.getpid()}.notes"
            _Writer._notes = Notes(self._directory / name)
        return _Writer._notes


def _misbehave(trouble: str) -> None:
    """Never return, or raise."""
    if trouble == "raise":
        raise ValueError("told to fail")
    if trouble == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    hoard: list[bytes] = []
    while trouble == "grow" and len(hoard) * _CHUNK < _ENOUGH:
        hoard.append(b"x" * _CHUNK)
        time.sleep(0.002)
    threading.Event().wait()


class Steady(HostedAgent):
    """An agent whose steps are asynchronous."""

    pause = _milliseconds(PAUSE_MS, 50)
    deadline = _milliseconds(DEADLINE_MS, 3000)

    def __init__(self) -> None:
        self._writer = _Writer()

    async def step(self, agent: headwater.AsyncSession) -> None:
        """One change, or what it was told."""
        trouble = self._writer.trouble(agent.agent_id)
        if trouble == "hang":
            await asyncio.Event().wait()
        elif trouble:
            _misbehave(trouble)
        n = self._writer.next(agent)
        async with agent.change() as state:
            self._writer.write(state, n)
        self._writer.done(agent.agent_id, n)


class Sturdy(HostedAgent):
    """An agent whose steps are plain functions."""

    pause = _milliseconds(PAUSE_MS, 50)
    deadline = _milliseconds(DEADLINE_MS, 3000)

    def __init__(self) -> None:
        self._writer = _Writer()

    def step(self, agent: headwater.Session) -> None:
        """One change, or what it was told."""
        if trouble := self._writer.trouble(agent.agent_id):
            _misbehave(trouble)
        n = self._writer.next(agent)
        with agent.change() as state:
            self._writer.write(state, n)
        self._writer.done(agent.agent_id, n)
