"""``python -m consumers.detectors``: one detector, with nothing but the base installation."""

from __future__ import annotations

import argparse
import sys

from headwater.config import PROFILES, Config
from headwater.durations import parse_duration
from headwater.program import run_program

from .app import run


def main() -> int:
    """Parse the command line, and run until told to stop."""
    parser = argparse.ArgumentParser(prog="consumers.detectors", description="Detect failures.")
    parser.add_argument("--profile", choices=list(PROFILES))
    parser.add_argument("--audit-after", default="10s", metavar="DURATION")
    options = parser.parse_args()

    def work() -> None:
        config = Config.load(profile=options.profile)
        run(config, audit_after=parse_duration(options.audit_after))

    return run_program("detectors", work)


if __name__ == "__main__":
    sys.exit(main())
