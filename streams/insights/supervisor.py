"""Keeps insights running. A worker that ends is started again; so is one that hangs, after SIGKILL:
one of Faust's that has met with an error can be deaf to SIGTERM for minutes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from headwater.config import Config
from headwater.errors import ConfigError
from headwater.local.process import Watchdog
from headwater.program import until_told
from headwater.topics import connect_fleet

from .board import Windows

log = logging.getLogger("headwater.insights")

_LOOK_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds. ``first_s``: how long a worker may take to begin. ``silence_s``: how long it may
    give no sign of life. ``orderly_s``: how long it may take to end. ``again_s``: before a worker
    is started again, doubled each time up to ``longest_s``; after one that ran for ``steady_s``,
    that begins anew.
    """

    first_s: float = 90.0
    silence_s: float = 15.0
    orderly_s: float = 8.0
    again_s: float = 0.5
    longest_s: float = 30.0
    steady_s: float = 60.0


def run(
    config: Config,
    environ: Mapping[str, str] | None = None,
    windows: Windows | None = None,
    patience: Patience | None = None,
) -> None:
    """Run insights until SIGTERM or SIGINT. The worker reads its settings from ``environ``.

    Raises Headwater's errors for topics that are missing or not as they must be, and
    :class:`ConfigError` where Faust is not installed.
    """
    if find_spec("faust") is None:
        raise ConfigError("insights needs Faust: pip install 'headwater[streams]'")
    windows = windows or Windows()
    connect_fleet(config)
    scratch = Path(tempfile.mkdtemp(prefix="headwater-insights-"))
    with until_told() as stop:
        watchdog = Watchdog(scratch)
        try:
            command = [
                *(sys.executable, "-P", "-m", f"{__package__}.worker"),
                *("--window-ms", str(windows.pane_ms), "--sliding-ms", str(windows.sliding_ms)),
                *("--keep-ms", str(windows.keep_ms)),
            ]
            supervise(
                command,
                _environment(config, environ or os.environ),
                watchdog.group,
                scratch,
                stop,
                patience or Patience(),
            )
        finally:
            watchdog.end()


def _environment(config: Config, environ: Mapping[str, str]) -> dict[str, str]:
    # Wherever this package was found, it is to be found there again.
    root = Path(__file__).resolve().parents[__package__.count(".") + 1]
    paths = filter(None, (environ.get("PYTHONPATH"), str(root)))
    return {
        **environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "HEADWATER_NODE_ID": config.node_id,
    }


def supervise(
    command: Sequence[str],
    environ: Mapping[str, str],
    group: int,
    scratch: Path,
    stop: threading.Event,
    patience: Patience,
) -> None:
    """Run ``command`` again and again until ``stop`` is set. It gets a directory of its own and the
    descriptor of a pipe to which it writes as long as it is well.
    """
    delay_s, number = patience.again_s, 0
    while not stop.is_set():
        number += 1
        began_s = time.monotonic()
        how = _run_once(command, environ, group, scratch / str(number), stop, patience)
        if stop.is_set():
            return
        if time.monotonic() - began_s >= patience.steady_s:
            delay_s = patience.again_s
        log.warning("the worker of insights %s; starting it again in %g s", how, delay_s)
        stop.wait(delay_s)
        delay_s = min(2 * delay_s, patience.longest_s)


def _run_once(
    command: Sequence[str],
    environ: Mapping[str, str],
    group: int,
    directory: Path,
    stop: threading.Event,
    patience: Patience,
) -> str:
    """Run a worker to its end, and say how that came."""
    directory.mkdir()  # Faust makes its own in there, but not this one
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    try:
        process = subprocess.Popen(
            [*command, "--directory", str(directory), "--alive-fd", str(theirs)],
            stdin=subprocess.DEVNULL,
            env=environ,
            pass_fds=[theirs],
            process_group=group,
        )
    finally:
        os.close(theirs)
    try:
        return _watch(process, ours, stop, patience)
    finally:
        _end(process, patience.orderly_s)
        os.close(ours)


def _watch(
    process: subprocess.Popen[bytes], alive_fd: int, stop: threading.Event, patience: Patience
) -> str:
    until_s = time.monotonic() + patience.first_s
    while not stop.is_set():
        if (status := process.poll()) is not None:
            return f"was killed by signal {-status}" if status < 0 else f"ended with {status}"
        if time.monotonic() > until_s:
            process.kill()
            process.wait()
            return "gave no sign of life and was killed"
        readable, _, _ = select.select([alive_fd], [], [], _LOOK_S)
        if not readable:
            continue
        if os.read(alive_fd, 4096):
            until_s = time.monotonic() + patience.silence_s
        else:
            stop.wait(_LOOK_S)  # it has closed the pipe, so it is about to end
    return "was told to stop"


def _end(process: subprocess.Popen[bytes], orderly_s: float) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(orderly_s)
            return
        process.kill()
        process.wait()
