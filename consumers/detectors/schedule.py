"""The loop over the detectors: each in its own time, and none held up by another's errors."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from headwater.errors import ConfigError, TopicMismatch
from headwater.fleet.records import FailureEvent, FailureType

from .finding import Finding

log = logging.getLogger("headwater.detectors")


class Detector(Protocol):
    """Looks for one type of failure. What it knows it was told before, by whoever runs it; times
    are arguments, in seconds of a clock that never jumps.
    """

    @property
    def type(self) -> FailureType:
        """What it looks for."""
        ...

    def findings(self, now_s: float) -> Iterable[Finding]:
        """What is wrong now."""
        ...

    def cleared(self, event: FailureEvent, now_s: float) -> str:
        """Why a failure that is in the log is over; empty while it is not, or nobody knows."""
        ...


class Guarded:
    """Work whose errors are logged and harm nothing else: ``errors`` counts them, and each kind is
    shown with its traceback once. Wrong settings are nobody's own error, and are raised.
    """

    def __init__(self, name: str, work: Callable[[Any], None]) -> None:
        self.name = name
        self.errors = 0
        self._work = work
        self._shown: set[str] = set()

    def __call__(self, argument: Any) -> None:
        """Do it."""
        try:
            self._work(argument)
        except (ConfigError, TopicMismatch):
            raise
        except Exception as error:  # noqa: BLE001 - whatever one detector does, the others go on
            self.errors += 1
            kind = repr(error)
            level = logging.DEBUG if kind in self._shown else logging.ERROR
            self._shown.add(kind)
            log.log(level, "%s failed: %s", self.name, traceback.format_exc())


class Job(Guarded):
    """Guarded work that is done every so often, with the time as its argument."""

    def __init__(self, name: str, work: Callable[[float], None], every_s: float) -> None:
        super().__init__(name, work)
        self.due_s = float("-inf")
        self._every_s = every_s

    def run(self, now_s: float) -> None:
        """Do it, if its time has come."""
        if now_s >= self.due_s:
            # Not from when it was due: one that was held up does not have to catch up.
            self.due_s = now_s + self._every_s
            self(now_s)
