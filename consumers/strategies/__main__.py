"""``python -m consumers.strategies``: the strategies, with nothing but the base installation."""

from __future__ import annotations

import argparse
import sys

from headwater.config import PROFILES, Config
from headwater.program import run_program

from .app import run
from .quarantine import LIMIT
from .run import Patience


def main() -> int:
    """Parse the command line, and run until told to stop."""
    parser = argparse.ArgumentParser(prog="consumers.strategies", description="Put failures right.")
    parser.add_argument("--webhook", action="append", default=[], metavar="URL")
    parser.add_argument("--notify-command", action="append", default=[], metavar="COMMAND")
    parser.add_argument("--attempts", type=int, default=Patience().attempts, metavar="N")
    parser.add_argument("--quarantine-after", type=int, default=LIMIT, metavar="N")
    parser.add_argument("--profile", choices=list(PROFILES))
    options = parser.parse_args()

    def work() -> None:
        run(
            Config.load(profile=options.profile),
            webhooks=options.webhook,
            commands=options.notify_command,
            attempts=options.attempts,
            quarantine_after=options.quarantine_after,
        )

    return run_program("strategies", work)


if __name__ == "__main__":
    sys.exit(main())
