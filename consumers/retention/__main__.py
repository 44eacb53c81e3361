"""``python -m consumers.retention``: retention, with nothing but the base installation."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta

from headwater.config import Config
from headwater.program import run_program

from .app import run
from .policy import Policy


def main() -> int:
    """Parse the command line, and run until told to stop."""
    parser = argparse.ArgumentParser(prog="consumers.retention", description="Run retention.")
    policy = Policy()

    def seconds(name: str, default: timedelta) -> None:
        parser.add_argument(name, type=float, default=default.total_seconds(), metavar="SECONDS")

    seconds("--interval", timedelta(minutes=5))
    seconds("--history", policy.history)
    seconds("--checkpoints-keep", policy.checkpoints_keep)
    parser.add_argument("--checkpoints-max", type=int, default=policy.checkpoints_max, metavar="N")
    seconds("--compress-after", policy.compress_after)
    seconds("--grace", policy.grace)
    options = parser.parse_args()

    def work() -> None:
        run(
            Config.load(),
            policy=Policy(
                history=timedelta(seconds=options.history),
                checkpoints_keep=timedelta(seconds=options.checkpoints_keep),
                checkpoints_max=options.checkpoints_max,
                compress_after=timedelta(seconds=options.compress_after),
                grace=timedelta(seconds=options.grace),
            ),
            interval=timedelta(seconds=options.interval),
        )

    return run_program("retention", work)


if __name__ == "__main__":
    sys.exit(main())
