"""``python -m streams.snapshots``: the compactor, with nothing but the base installation."""

from __future__ import annotations

import argparse
import os
import sys

from headwater.config import PROFILES, Config
from headwater.durations import parse_duration
from headwater.program import run_program

from .app import run
from .policy import TRIGGERS
from .strategy import STRATEGIES


def main() -> int:
    """Parse the command line, and run until told to stop."""
    parser = argparse.ArgumentParser(prog="streams.snapshots", description="Run the compactor.")
    parser.add_argument("--commit-interval-ms", type=int, default=250, metavar="MS")
    parser.add_argument("--strategy", choices=list(STRATEGIES), default="outweigh")
    parser.add_argument("--rto-ms", type=float, metavar="MS", help="for --strategy budget")
    environ = os.environ.get
    parser.add_argument(
        "--checkpoint-trigger",
        choices=TRIGGERS,
        default=environ("HEADWATER_CHECKPOINT_TRIGGER", "time"),
    )
    parser.add_argument(
        "--checkpoint-interval",
        default=environ("HEADWATER_CHECKPOINT_INTERVAL", "5m"),
        metavar="DURATION",
    )
    parser.add_argument(
        "--checkpoint-steps",
        type=int,
        default=environ("HEADWATER_CHECKPOINT_STEPS", "10"),
        metavar="N",
    )
    parser.add_argument("--profile", choices=list(PROFILES))
    parser.add_argument("--json-stats", action="store_true")
    options = parser.parse_args()

    def work() -> None:
        run(
            Config.load(profile=options.profile),
            commit_interval_ms=options.commit_interval_ms,
            strategy=options.strategy,
            rto_ms=options.rto_ms,
            checkpoint_trigger=options.checkpoint_trigger,
            checkpoint_interval=parse_duration(options.checkpoint_interval),
            checkpoint_steps=options.checkpoint_steps,
            json_stats=options.json_stats,
        )

    return run_program("compactor", work)


if __name__ == "__main__":
    sys.exit(main())
