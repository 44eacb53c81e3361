"""Processes that may outlive the one that started them, and never anybody else's."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process id with the time at which it began: ids are used again, pairs are not."""

    pid: int
    began: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return began_at(self.pid) == self.began

    def signal(self, number: int) -> bool:
        """Sends a signal; False when the process is gone."""
        if not self.alive:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait_gone(self, timeout_s: float) -> bool:
        """Waits for the process to end, for at most this long."""
        deadline = time.monotonic() + timeout_s
        while self.alive:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True


def began_at(pid: int) -> str | None:
    """When this process began, in whatever form the system tells; None when there is none."""
    return _linux_began_at(pid) if sys.platform == "linux" else _posix_began_at(pid)


def _linux_began_at(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    state, threads, ticks = fields[0], int(fields[17]), fields[19]
    # A process whose first thread has ended looks like a zombie while others still hold its ports.
    ended = state in "ZX" and threads <= 1
    return None if ended else f"{boot[:8]}-{ticks}"


def _posix_began_at(pid: int) -> str | None:
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    state, _, began = done.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else began.strip()


class Child:
    """A process that this one started: it is reaped, and its exit status is known."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.identity = Identity(pid=popen.pid, began=began_at(popen.pid) or "")

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._popen.poll()

    def disown(self) -> None:
        """Lets the process go on without us; Python would warn about it when we exit."""
        if self._popen.poll() is None:
            self._popen.returncode = 0


def spawn(
    command: Sequence[str], log: Path, *, environment: Mapping[str, str], group: int | None
) -> Child:
    """Starts a process with its output appended to ``log``.

    In the process group ``group``, or, for None, in a session of its own that outlives us. Either
    way Ctrl-C at the terminal reaches us alone, who then stop it in order.
    """
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=group is None,
            process_group=group,
        )
    return Child(popen)


class Watchdog:
    """Makes what joins its process group die with this process, SIGKILL included.

    ``scratch`` is a directory that goes with it.
    """

    def __init__(self, scratch: Path | None) -> None:
        theirs, ours = os.pipe()
        script = Path(__file__).with_name("watchdog.py")
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", str(script), str(scratch or "")],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._pipe = ours
        _open_pipes.add(self)

    @property
    def group(self) -> int:
        """The process group to start brokers in."""
        return self._popen.pid

    def release(self) -> None:
        """Ends the watch when everything has been stopped already."""
        if self._pipe >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, b".")
        self.end()

    def end(self) -> None:
        """Ends the watch, and with it whatever is left in the group, and the scratch directory."""
        if self._pipe >= 0:
            self._close()
            self._popen.wait()

    def _close(self) -> None:
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            os.close(pipe)


#: A forked child must not hold our end open, or the brokers would live until it ends too.
_open_pipes: weakref.WeakSet[Watchdog] = weakref.WeakSet()


def _close_in_child() -> None:
    for watchdog in list(_open_pipes):
        watchdog._close()


os.register_at_fork(after_in_child=_close_in_child)
