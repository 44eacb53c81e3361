"""Processes: recognised for certain, and gone with their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from headwater.local.process import Identity, began_at, spawn

OWNER = """
import os, sys, time
from pathlib import Path
from headwater.local.process import Watchdog, spawn
scratch = Path(sys.argv[1])
watchdog = Watchdog(scratch)
child = spawn(["sleep", "60"], scratch.parent / "log", environment=os.environ, group=watchdog.group)
print(child.identity.pid, child.identity.began, flush=True)
if sys.argv[2] == "fork" and os.fork() == 0:
    time.sleep(5)  # a child that outlives its parent must not keep the brokers alive
    os._exit(0)
if sys.argv[2] == "return":
    sys.exit()
if sys.argv[2] == "release":
    os.kill(child.identity.pid, 9)
    watchdog.release()
    sys.exit()
time.sleep(60)
"""


def soon(condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def owner(scratch: Path, mode: str) -> tuple[subprocess.Popen[str], Identity]:
    """A process that owns a watched one, and the one that it watches."""
    scratch.mkdir()
    (scratch / "data").write_text("x")
    source = str(Path(__file__).parents[3] / "src")
    popen = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(scratch), mode],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert popen.stdout is not None
    pid, began = popen.stdout.readline().split(maxsplit=1)
    return popen, Identity(pid=int(pid), began=began.strip())


def test_a_living_process_is_recognised() -> None:
    """Our own id with our own beginning is us."""
    ours = Identity(pid=os.getpid(), began=began_at(os.getpid()) or "")
    assert ours.alive


def test_a_reused_id_is_never_signalled() -> None:
    """The right id with another beginning is somebody else, who gets no signal."""
    somebody = Identity(pid=os.getpid(), began="some other time")
    assert not somebody.alive
    assert not somebody.signal(signal.SIGKILL)


def test_a_zombie_counts_as_gone(tmp_path: Path) -> None:
    """A process that has ended but was not reaped does not run."""
    child = spawn(["true"], tmp_path / "log", environment=os.environ, group=None)
    assert soon(lambda: not child.identity.alive)
    assert child.exit_status == 0


def test_output_is_appended_to_the_log(tmp_path: Path) -> None:
    """What a broker says, on either stream, is in its log."""
    child = spawn(
        ["sh", "-c", "echo out; echo err >&2"], tmp_path / "log", environment=os.environ, group=None
    )
    assert soon(lambda: child.exit_status == 0)
    assert (tmp_path / "log").read_text() == "out\nerr\n"


def test_waiting_for_the_end_gives_up(tmp_path: Path) -> None:
    """A process that does not end in time is reported as still there."""
    child = spawn(["sleep", "60"], tmp_path / "log", environment=os.environ, group=None)
    assert not child.identity.wait_gone(0.05)
    assert child.identity.signal(signal.SIGKILL)
    assert child.identity.wait_gone(5)
    assert child.exit_status == -signal.SIGKILL


def test_children_die_with_a_killed_owner(tmp_path: Path) -> None:
    """SIGKILL leaves the owner no time for anything, and nothing is left all the same."""
    popen, child = owner(tmp_path / "scratch", "wait")
    assert child.alive
    popen.kill()
    popen.wait()
    assert soon(lambda: not child.alive)
    assert soon(lambda: not (tmp_path / "scratch").exists())


def test_children_die_with_an_owner_that_forgets_them(tmp_path: Path) -> None:
    """An owner that simply ends takes them along too."""
    popen, child = owner(tmp_path / "scratch", "return")
    popen.wait()
    assert soon(lambda: not child.alive)


def test_a_forked_child_of_the_owner_does_not_keep_them_alive(tmp_path: Path) -> None:
    """What the owner forks inherits the pipe, and closes it."""
    popen, child = owner(tmp_path / "scratch", "fork")
    popen.kill()
    popen.wait()
    assert soon(lambda: not child.alive, timeout_s=3)


def test_a_released_watchdog_sweeps_nothing(tmp_path: Path) -> None:
    """After an orderly end the directory is the owner's affair."""
    popen, _ = owner(tmp_path / "scratch", "release")
    assert popen.wait() == 0
    assert (tmp_path / "scratch" / "data").exists()
