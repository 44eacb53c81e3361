"""``python -m streams.snapshots``: the compactor, with nothing but the base installation."""

from __future__ import annotations

import argparse
import logging
import sys

from headwater.config import PROFILES, Config
from headwater.errors import HeadwaterError

from .app import run
from .strategy import STRATEGIES


def main() -> int:
    """Parse the command line, and run until told to stop."""
    parser = argparse.ArgumentParser(prog="streams.snapshots", description="Run the compactor.")
    parser.add_argument("--commit-interval-ms", type=int, default=250, metavar="MS")
    parser.add_argument("--strategy", choices=list(STRATEGIES), default="outweigh")
    parser.add_argument("--profile", choices=list(PROFILES))
    parser.add_argument("--json-stats", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("headwater").setLevel(logging.INFO)
    try:
        run(
            Config.load(profile=options.profile),
            commit_interval_ms=options.commit_interval_ms,
            strategy=options.strategy,
            json_stats=options.json_stats,
        )
    except HeadwaterError as error:
        logging.getLogger("headwater.compactor").error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
