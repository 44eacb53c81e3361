"""A detector as a process of its own."""

from __future__ import annotations

from datetime import timedelta

from headwater.config import Config
from headwater.program import until_told

from .auditor import FIRST
from .detection import Detection


def run(config: Config, *, audit_after: timedelta = FIRST) -> None:
    """Detect failures until SIGTERM or SIGINT; ``audit_after`` is when the first look at the states
    of agents is due. Raises Headwater's errors for what no retry can mend.
    """
    with until_told() as stop:
        Detection(config, audit_after=audit_after).run(stop)
