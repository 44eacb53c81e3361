"""``python -m streams.insights.worker``: what the supervisor runs, and runs again."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from pathlib import Path

from headwater.config import Config

from .board import Windows


def main() -> None:
    """Run the app until SIGTERM. Each second in which all is well a byte goes to ``--alive-fd``."""
    parser = argparse.ArgumentParser(prog="streams.insights.worker")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--alive-fd", type=int, required=True)
    parser.add_argument("--window-ms", type=int, default=Windows().pane_ms)
    parser.add_argument("--sliding-ms", type=int, default=Windows().sliding_ms)
    parser.add_argument("--keep-ms", type=int, default=Windows().keep_ms)
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # Ten lines a second while a partition has no leader; what does not pass is raised.
    logging.getLogger("aiokafka.consumer.fetcher").setLevel(logging.CRITICAL)
    logging.getLogger("mode").setLevel(logging.ERROR)
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    run(
        Config.load(),
        Windows(pane_ms=options.window_ms, sliding_ms=options.sliding_ms, keep_ms=options.keep_ms),
        options.directory,
        options.alive_fd,
    )


def run(config: Config, windows: Windows, directory: Path, alive_fd: int) -> None:
    """Run the app until SIGTERM."""
    import faust

    from .app import Insights, Strict

    insights = Insights(config, windows, directory, lambda: _tell(alive_fd))
    insights.app.sensors.add(Strict())
    faust.Worker(
        insights.app, loglevel="WARN", quiet=True, override_logging=False, redirect_stdouts=False
    ).execute_from_commandline()


def _tell(alive_fd: int) -> None:
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(alive_fd, b".")


if __name__ == "__main__":
    main()
