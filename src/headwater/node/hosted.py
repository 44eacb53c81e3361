"""Agents as a node runs them: the class that users write, and what a node reads off it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Final

from headwater.errors import ConfigError
from headwater.node.tally import Tally


class Done:
    """The type of :data:`DONE`."""

    def __repr__(self) -> str:
        return "headwater.DONE"


DONE: Final = Done()
"""What a step returns that has nothing more to do: the agent is given up and not driven again."""


class HostedAgent:
    """An agent that a node drives, step by step.

    A step changes the agent's state by ``agent.change()``, any number of times, and returns None
    (the next one follows after ``pause``), a :class:`~datetime.timedelta` (it follows after that
    long), or :data:`DONE`. An ``async def step`` gets an :class:`~headwater.AsyncSession`, a plain
    one a :class:`~headwater.Session` and a thread. Where it raises, or takes longer than
    ``deadline``, nothing counts that it had not yet been told is acknowledged, and the agent goes
    on from its last acknowledged change, with a new object of its class, after a pause that grows.

    ``kind`` is the name under which nodes know the class, its own by default. ``transitions``: for
    each status of the state, those that may follow it; empty where any may.
    """

    kind: ClassVar[str] = ""
    deadline: ClassVar[timedelta] = timedelta(seconds=60)
    pause: ClassVar[timedelta] = timedelta(0)
    transitions: ClassVar[Mapping[str, Sequence[str]]] = {}

    def step(self, agent: Any) -> Any:
        """One step of the agent's work."""
        raise NotImplementedError(f"{type(self).__name__} has no step")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A class of agents, as its node knows it."""

    name: str
    cls: type[HostedAgent]
    is_async: bool
    deadline_s: float
    pause_s: float
    transitions: dict[str, list[str]] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)


def kind_of(cls: type[HostedAgent]) -> Kind:
    """What a node reads off a class. Raises :class:`ConfigError` for one that it cannot run."""
    name = cls.kind or cls.__name__
    if cls.step is HostedAgent.step:
        raise ConfigError(f"{cls.__name__} has no step method")
    if cls.deadline <= timedelta(0) or cls.pause < timedelta(0):
        raise ConfigError(f"{cls.__name__}: deadline must be positive and pause not negative")
    return Kind(
        name=name,
        cls=cls,
        is_async=inspect.iscoroutinefunction(cls.step),
        deadline_s=cls.deadline.total_seconds(),
        pause_s=cls.pause.total_seconds(),
        transitions={status: list(after) for status, after in cls.transitions.items()},
    )


def load_kinds(specs: Iterable[str]) -> dict[str, Kind]:
    """The kinds named by ``module:Class``, or ``module`` for all that it defines, by name.

    Modules are looked for in the current directory, too. Raises :class:`ConfigError`.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    kinds: dict[str, Kind] = {}
    for spec in specs:
        for cls in _classes(spec):
            kind = kind_of(cls)
            if kinds.setdefault(kind.name, kind).cls is not cls:
                raise ConfigError(f"two classes are of kind {kind.name!r}; set `kind` in one")
    return kinds


def _classes(spec: str) -> list[type[HostedAgent]]:
    name, _, attribute = spec.partition(":")
    try:
        module = import_module(name)
    except ImportError as error:
        raise ConfigError(f"{spec}: cannot import {name}: {error}") from error
    if attribute:
        found = getattr(module, attribute, None)
        if not (isinstance(found, type) and issubclass(found, HostedAgent)):
            raise ConfigError(f"{spec}: {attribute} is no class of agents in {name}")
        return [found]
    found_all = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, HostedAgent) and each.__module__ == name
    ]
    if not found_all:
        raise ConfigError(f"{name} defines no class of agents: derive one from HostedAgent")
    return found_all
