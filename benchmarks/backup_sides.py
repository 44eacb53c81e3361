"""The backup's side of `backup`: it runs beside the compactor, and watches its own lag."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.cluster import config_of
from benchmarks.measure import Meter
from consumers.backup import Backup, to_json, yield_to_others
from headwater.tiers import open_tier

_LOOK_S = 0.05
_TIMEOUT_S = 120.0


def backup(params: dict[str, Any]) -> dict[str, Any]:
    """Side: a backup to a folder, until everything is in it that the compactor wrote before the
    file ``stop`` was there.
    """
    config, folder = config_of(params), Path(params["folder"])
    yield_to_others()  # as the backup's own process does
    with open_tier(str(folder / "backup")) as tier:
        running = Backup(config, tier, interval=timedelta(seconds=params["interval_s"]))
        stop = threading.Event()
        meter = Meter()
        meter.start()
        thread = threading.Thread(target=running.run, args=(stop,))
        thread.start()
        try:
            lags, drain_s = _watch(running, params["partitions"], folder)
        finally:
            stop.set()
            thread.join()
        result = meter.stop()
    figures = to_json(running.stats())
    del figures["partitions"], figures["lag_seconds"]
    return {**result, **figures, "lag_max_s": max(lags), "drain_s": drain_s}


def _watch(running: Backup, partitions: int, folder: Path) -> tuple[list[float], float]:
    deadline = time.monotonic() + _TIMEOUT_S
    stopped = 0.0
    lags = [0.0]
    while time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        parts = running.stats().partitions.values()
        seconds = [p.lag_seconds for p in parts if p.lag_seconds is not None]
        if len(seconds) < partitions:
            continue
        (folder / "ready").touch()
        lags.append(max(seconds))
        if not stopped and (folder / "stop").exists():
            stopped = time.monotonic()
        # Complete as of a moment after the compactor's end.
        if stopped and max(seconds) < time.monotonic() - stopped:
            return lags, time.monotonic() - stopped - min(seconds)
    raise RuntimeError(f"the backup is not complete {_TIMEOUT_S:g} s after its start")
