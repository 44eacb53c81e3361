"""``python -m consumers.backup``: the backup, with nothing but the base installation."""

from __future__ import annotations

import argparse
import sys

from headwater.config import Config
from headwater.durations import parse_duration
from headwater.program import run_program

from .app import run


def main() -> int:
    """Parse the command line, and run until told to stop."""
    parser = argparse.ArgumentParser(prog="consumers.backup", description="Run the backup.")
    parser.add_argument("--to", metavar="URL", help="else HEADWATER_BACKUP")
    parser.add_argument("--replica", metavar="URL", help="else HEADWATER_REPLICA")
    parser.add_argument("--interval", default="10s", metavar="DURATION")
    parser.add_argument("--segment-bytes", type=int, default=16 << 20, metavar="N")
    parser.add_argument("--json-stats", action="store_true")
    options = parser.parse_args()

    def work() -> None:
        config = Config.load(backup=options.to, replica=options.replica)
        if config.backup is None:
            parser.error("say where to: --to URL, or HEADWATER_BACKUP")
        run(
            config,
            config.backup,
            interval=parse_duration(options.interval),
            segment_bytes=options.segment_bytes,
            replica=config.replica,
            json_stats=options.json_stats,
        )

    return run_program("backup", work)


if __name__ == "__main__":
    sys.exit(main())
