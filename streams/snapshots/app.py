"""One instance of the compactor as a process of its own."""

from __future__ import annotations

import json
import signal
import sys
import threading
from types import FrameType

from headwater.config import Config

from .compactor import Compactor, to_json
from .partition import Timing
from .strategy import make_strategy


def run(
    config: Config,
    *,
    commit_interval_ms: int = 250,
    strategy: str = "outweigh",
    json_stats: bool = False,
) -> None:
    """Run a compactor until SIGTERM or SIGINT; then commit what is pending, and return.

    With ``json_stats`` the last line on stdout is one JSON object. Raises Headwater's errors for
    what no retry can mend.
    """
    compactor = Compactor(
        config,
        strategy=make_strategy(strategy),
        timing=Timing(commit_s=commit_interval_ms / 1000),
    )
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        compactor.run(stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if json_stats:
            sys.stdout.write(json.dumps(to_json(compactor.stats())) + "\n")
