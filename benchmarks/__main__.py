"""``python -m benchmarks NAME [--quick] [--json] [--profile FOLDER]``."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path

import click

from benchmarks.child import PROFILE_ENV
from benchmarks.report import emit

BENCHES = (
    *("publish", "compact", "recover", "storage", "rto", "checkpoint", "backup", "rebuild"),
    *("failover", "detection"),
)


@click.command(help="Measure Headwater beside its peers.")
@click.argument("name", type=click.Choice(BENCHES))
@click.option("--quick", is_flag=True, help="Smaller, within a minute once set up.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, last on stdout.")
@click.option(
    "--profile",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for a cProfile file of each side; the figures of such a run mean nothing.",
)
def main(name: str, quick: bool, as_json: bool, profile: Path | None) -> None:
    """Run one benchmark and print its report. A figure that misses its bar is no failure."""
    # Brokers and compactors end with their blocks, so blocks have to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if profile:
        profile.mkdir(parents=True, exist_ok=True)
        os.environ[PROFILE_ENV] = str(profile.resolve())
    report = importlib.import_module(f"benchmarks.{name}").run(quick=quick)
    emit(report, as_json=as_json)


if __name__ == "__main__":
    main()
