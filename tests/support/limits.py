"""Processes that have less than the machine: memory, disk; and whose wall clock jumps."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import ROOT

_GROUPS = Path("/sys/fs/cgroup")


def can_mount() -> bool:
    """Whether file systems can be mounted for one process alone."""
    if not (sys.platform == "linux" and os.geteuid() == 0 and shutil.which("unshare")):
        return False
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return done.returncode == 0


def on_small_disk(directory: Path, size_bytes: int) -> tuple[str, ...]:
    """What to put before a command for which this directory is a small disk of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    mount = f'mount -t tmpfs -o size={size_bytes} headwater-test "$0" && exec "$@"'
    return ("unshare", "-m", "sh", "-c", mount, str(directory))


def fill_disk(pid: int, directory: Path) -> None:
    """Fill the disk that a process has there, to the last byte."""
    command = f"dd if=/dev/zero of={directory}/filler bs=65536 2>/dev/null; true"
    subprocess.run(["nsenter", "-t", str(pid), "-m", "sh", "-c", command], check=True)


def free_disk(pid: int, directory: Path) -> None:
    """Take that back."""
    command = f"rm -f {directory}/filler"
    subprocess.run(["nsenter", "-t", str(pid), "-m", "sh", "-c", command], check=True)


@contextlib.contextmanager
def little_memory(name: str, size_bytes: int) -> Iterator[tuple[str, ...] | None]:
    """What to put before a command that may use so much memory, and is killed beyond; None where
    no control group can be made.
    """
    group = _group(name)
    if group is None:
        yield None
        return
    limit = "memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes"
    (group / limit).write_text(str(size_bytes))
    try:
        yield ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group))
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def _group(name: str) -> Path | None:
    for parent in (_GROUPS / "memory", _GROUPS):
        if not any((parent / each).exists() for each in ("tasks", "cgroup.controllers")):
            continue
        group = parent / f"hwt-{os.getpid()}-{name}"
        with contextlib.suppress(OSError):
            group.mkdir()
            if any((group / f"memory.{each}").exists() for each in ("max", "limit_in_bytes")):
                return group
            group.rmdir()
    return None


def with_clock(file: Path) -> dict[str, str]:
    """The environment of a process whose wall clock is off by the nanoseconds in a file."""
    paths = [str(ROOT / "tests/support/clockjump"), str(ROOT / "src"), str(ROOT)]
    return {
        "HEADWATER_TEST_CLOCK": str(file),
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
    }
