"""The supervisor of insights: workers that end, hang, and will not be told."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.insights.supervisor import Patience, supervise

PATIENCE = Patience(first_s=1.5, silence_s=0.5, orderly_s=0.5, again_s=0.05, longest_s=0.1)

WORKER = """
import os, signal, sys, time
directory, alive = sys.argv[2], int(sys.argv[4])
notes = os.path.join(os.path.dirname(directory), "notes")
with open(notes, "a") as file:
    file.write(f"{os.getpid()}\\n")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""
ENDS = "sys.exit(3)"
HANGS = "os.write(alive, b'.'); time.sleep(60)"
LIVES = "\nwhile True:\n    os.write(alive, b'.'); time.sleep(0.1)"
DEAF = "os.close(alive); time.sleep(60)"


@contextmanager
def supervised(code: str, directory: Path) -> Iterator[Path]:
    """A worker that runs this code; the file in which each notes its process id."""
    stop = threading.Event()
    command = [sys.executable, "-c", WORKER + code]
    arguments = (command, dict(os.environ), 0, directory, stop, PATIENCE)
    thread = threading.Thread(target=supervise, args=arguments)
    thread.start()
    try:
        yield directory / "notes"
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def pids(notes: Path, count: int) -> list[int]:
    """The process ids of the first workers, once there are so many."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = notes.read_text().split() if notes.exists() else []
        if len(found) >= count:
            return [int(each) for each in found]
        time.sleep(0.02)
    raise AssertionError(f"{len(found)} workers were started")


def gone(pid: int) -> bool:
    """Whether there is no such process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_one_that_ends_is_started_again(tmp_path: Path) -> None:
    """Each in a directory of its own."""
    with supervised(ENDS, tmp_path) as notes:
        assert len(set(pids(notes, 3))) >= 3
        assert (tmp_path / "3").is_dir()


def test_one_that_hangs_is_killed(tmp_path: Path) -> None:
    """Though it is deaf to SIGTERM, and whether or not it has closed its pipe."""
    for number, code in enumerate((HANGS, DEAF)):
        (tmp_path / str(number)).mkdir()
        with supervised(code, tmp_path / str(number)) as notes:
            assert gone(pids(notes, 2)[0])


def test_one_that_lives_is_left_alone_until_the_end(tmp_path: Path) -> None:
    """It is told to stop then, and killed if it does not hear."""
    with supervised(LIVES, tmp_path) as notes:
        (first,) = pids(notes, 1)
        time.sleep(3 * PATIENCE.silence_s)
        assert pids(notes, 1) == [first]
        assert not gone(first)
    assert gone(first)
