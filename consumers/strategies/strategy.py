"""What a strategy is, and how the one for a failure is chosen."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

from headwater.errors import ConfigError
from headwater.fleet.records import FailureEvent, FailureType, RecoveryItem, RecoveryStatus

from .context import Context

log = logging.getLogger("headwater.strategies")

ENTRY_POINTS = "headwater.strategies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a strategy achieved.

    ``items`` tells agent by agent where a failure touches several; ``metrics`` have their units in
    their names; ``seconds`` is measured by whoever ran the strategy. ``again`` says whether
    another attempt may achieve more, ``after_s`` how long to wait before it; ``healing`` that this
    was about what remains to be done once the failure has cleared.
    """

    success: bool
    message: str
    error: str = ""
    items: tuple[RecoveryItem, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    again: bool = True
    after_s: float | None = None
    healing: bool = False

    @property
    def status(self) -> RecoveryStatus:
        """How the outcome is called: PARTIAL where some agents go on and others do not."""
        if self.success:
            return RecoveryStatus.SUCCEEDED
        if any(item.ok for item in self.items):
            return RecoveryStatus.PARTIAL
        return RecoveryStatus.FAILED


@runtime_checkable
class Strategy(Protocol):
    """Puts failures right. One object serves several failures at a time, in threads of their own.

    Every step goes through ``context``: it is in the log before it is taken, so that a handler
    that goes on after this one died knows of it. Headwater's errors that ``recover`` raises make
    the attempt a failed one; others are taken for faults of the strategy, and end alike.
    """

    @property
    def name(self) -> str:
        """How outcomes call it."""
        ...

    @property
    def priority(self) -> int:
        """Of several strategies that can handle a failure, the one with the smallest does."""
        ...

    def can_handle(self, failure_type: FailureType) -> bool:
        """Whether it is made for failures of this type."""
        ...

    def recover(self, failure: FailureEvent, context: Context) -> Result:
        """Put a failure right, or say why that could not be done."""
        ...


def choose(strategies: Iterable[Strategy], failure_type: FailureType) -> Strategy | None:
    """The strategy for failures of a type: of those that can, the smallest priority, then name."""
    able = [each for each in strategies if each.can_handle(failure_type)]
    return min(able, key=lambda each: (each.priority, each.name), default=None)


def user_strategies() -> list[Strategy]:
    """Those that installed packages offer under the entry point group ``headwater.strategies``:
    each a class, or a function, that is called without arguments.

    Raises :class:`ConfigError` for one that cannot be loaded: it may be the one that counts.
    """
    found: list[Strategy] = []
    for point in entry_points(group=ENTRY_POINTS):
        try:
            made = point.load()()
        except Exception as error:  # whatever a package's code trips over
            raise ConfigError(f"strategy {point.name} ({point.value}): {error!r}") from error
        if not isinstance(made, Strategy):
            raise ConfigError(
                f"strategy {point.name} ({point.value}) makes a {type(made).__name__}, which has "
                "not all of name, priority, can_handle and recover"
            )
        found.append(made)
    return found


def check_names(strategies: Sequence[Strategy]) -> None:
    """Raises :class:`ConfigError` where two have one name: outcomes could not be told apart."""
    names = [each.name for each in strategies]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two strategies are called {name!r}; give one another name")
