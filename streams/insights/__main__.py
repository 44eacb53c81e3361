"""``python -m streams.insights``: insights, supervised."""

from __future__ import annotations

import argparse
import sys

from headwater.config import PROFILES, Config
from headwater.program import run_program

from .board import Windows
from .supervisor import run


def main() -> int:
    """Parse the command line, and run until told to stop."""
    parser = argparse.ArgumentParser(prog="streams.insights", description="Run insights.")
    parser.add_argument("--window-ms", type=int, default=Windows().pane_ms, metavar="MS")
    parser.add_argument("--sliding-ms", type=int, default=Windows().sliding_ms, metavar="MS")
    parser.add_argument("--profile", choices=list(PROFILES))
    options = parser.parse_args()
    windows = Windows(pane_ms=options.window_ms, sliding_ms=options.sliding_ms)
    config = Config.load(profile=options.profile)
    return run_program("insights", lambda: run(config, windows=windows))


if __name__ == "__main__":
    sys.exit(main())
