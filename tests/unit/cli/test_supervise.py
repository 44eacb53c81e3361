"""Processes that are kept running."""

from __future__ import annotations

import os
import sys
import time

import psutil
import pytest

from headwater.cli.supervise import Supervisor, headwater_command

ENDS = [sys.executable, "-S", "-c", "raise SystemExit(3)"]
STAYS = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-S",
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('ready', flush=True); time.sleep(600)",
]


def test_what_ends_is_started_again_ever_later(capsys: pytest.CaptureFixture[str]) -> None:
    """Each end is told, with the wait before the next start, which doubles."""
    said = ""
    with Supervisor() as supervisor:
        supervisor.add("it", ENDS, os.environ)
        deadline = time.monotonic() + 60
        while said.count("it ended with status 3") < 2:
            assert time.monotonic() < deadline
            supervisor.tend()
            time.sleep(0.02)
            said += capsys.readouterr().err
    assert "again in 0.5 s" in said
    assert "again in 1 s" in said


def test_the_end_of_the_block_ends_everything() -> None:
    """Processes are gone after the block."""
    with Supervisor() as supervisor:
        supervisor.add("it", STAYS, os.environ)
        (pid,) = supervisor.pids
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


def test_what_does_not_listen_is_killed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A process that ignores SIGTERM is given a while, and then SIGKILL."""
    monkeypatch.setattr("headwater.cli.supervise._ORDERLY_S", 0.2)
    with Supervisor() as supervisor:
        supervisor.add("it", STUBBORN, os.environ)
        (pid,) = supervisor.pids
        deadline = time.monotonic() + 60
        while "ready" not in capfd.readouterr().out:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert not psutil.pid_exists(pid)


def test_children_are_of_the_same_installation() -> None:
    """The command that is started is this very Python's headwater."""
    assert headwater_command("-v", "compact") == [
        sys.executable,
        "-m",
        "headwater",
        "-v",
        "compact",
    ]
