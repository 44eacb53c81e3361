"""Processes that are started again when they end, and never outlive this one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from headwater.cli.output import say
from headwater.local.process import Watchdog

_FIRST_S = 0.5
_LONGEST_S = 30.0
_STEADY_S = 60.0
_ORDERLY_S = 10.0


@dataclass(slots=True)
class _Worker:
    """One process, or the wait for its next start."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    again_at: float = 0.0
    delay_s: float = _FIRST_S


class Supervisor:
    """Keeps processes running; whatever this process dies of, they die with it.

    A process that ends is started again after half a second, and after twice as long each time,
    up to 30 s, until it has run for a minute.
    """

    def __init__(self) -> None:
        self._workers: list[_Worker] = []
        self._watchdog: Watchdog | None = None

    def __enter__(self) -> Self:
        self._watchdog = Watchdog(None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            if worker.process is not None:
                worker.process.terminate()
        deadline = time.monotonic() + _ORDERLY_S
        for worker in self._workers:
            if worker.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.0, deadline - time.monotonic()))
        if self._watchdog is not None:
            self._watchdog.end()  # and with it whatever still runs
        for worker in self._workers:
            if worker.process is not None:
                worker.process.wait()

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return [w.process.pid for w in self._workers if w.process is not None]

    def add(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process and keep it running."""
        worker = _Worker(name, command, environment)
        self._workers.append(worker)
        self._start(worker)

    def tend(self) -> None:
        """Look after the processes once; to be called a few times a second."""
        now = time.monotonic()
        for worker in self._workers:
            if worker.process is None:
                if now >= worker.again_at:
                    self._start(worker)
            elif (status := worker.process.poll()) is not None:
                self._ended(worker, status, now)

    def _start(self, worker: _Worker) -> None:
        assert self._watchdog is not None
        worker.process = subprocess.Popen(
            worker.command,
            stdin=subprocess.DEVNULL,
            env=worker.environment,
            process_group=self._watchdog.group,
        )
        worker.started = time.monotonic()

    def _ended(self, worker: _Worker, status: int, now: float) -> None:
        worker.process = None
        if now - worker.started >= _STEADY_S:
            worker.delay_s = _FIRST_S
        worker.again_at = now + worker.delay_s
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        say(f"{worker.name} {how}; starting it again in {worker.delay_s:g} s")
        worker.delay_s = min(worker.delay_s * 2, _LONGEST_S)


def headwater_command(*arguments: str) -> list[str]:
    """The command line of this very installation's ``headwater``."""
    return [sys.executable, "-m", "headwater", *arguments]
