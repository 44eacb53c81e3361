"""The processes of the demo. None of them outlives it, whatever the demo dies of."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from headwater.config import Config
from headwater.demo import record
from headwater.demo.record import Event, Seen
from headwater.local.process import Watchdog

_ORDERLY_S = 5.0


class Stage:
    """Starts workers and compactors, and hears what workers say in ``events``."""

    def __init__(self, config: Config, folder: Path, plan_path: Path) -> None:
        self._config = config
        self._folder = folder
        self._plan_path = plan_path
        self._watchdog: Watchdog | None = None
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._compactors: list[subprocess.Popen[bytes]] = []
        self.events: queue.SimpleQueue[Seen] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._watchdog = Watchdog(self._folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._stop_in_order()
        if self._watchdog is not None:
            self._watchdog.end()  # and with it whatever still runs
        for process in (*self._workers.values(), *self._compactors):
            process.wait()

    def _stop_in_order(self) -> None:
        for worker in self._workers.values():
            _close(worker.stdin)
        for compactor in self._compactors:
            compactor.terminate()
        deadline = time.monotonic() + _ORDERLY_S
        for process in (*self._workers.values(), *self._compactors):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))

    def start_worker(self, number: int) -> int:
        """Start worker ``number``; returns its process id."""
        command = ("headwater.demo.worker", str(self._plan_path))
        process = self._start(f"worker-{number}", command, subprocess.PIPE)
        self._workers[number] = process
        threading.Thread(target=self._listen, args=(number, process), daemon=True).start()
        return process.pid

    def start_compactor(self) -> int:
        """Start another compactor; returns its process id."""
        number = len(self._compactors) + 1
        process = self._start(f"compactor-{number}", ("headwater", "compact"), subprocess.DEVNULL)
        self._compactors.append(process)
        return process.pid

    def hand_over(self, number: int, agent_id: str) -> None:
        """Tell worker ``number`` to take an agent; if it has died, that is heard of later."""
        pipe = self._workers[number].stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):
            pipe.write(f"{agent_id}\n".encode())
            pipe.flush()

    def kill_worker(self, number: int) -> float:
        """Kill a worker with SIGKILL; returns the time.monotonic() right before it."""
        return _kill(self._workers[number])

    def kill_compactor(self) -> float:
        """Kill the newest compactor with SIGKILL; returns the time.monotonic() right before it."""
        return _kill(self._compactors[-1])

    @property
    def compactor_ended(self) -> bool:
        """Whether the newest compactor has ended."""
        return self._compactors[-1].poll() is not None

    def last_words(self, name: str, lines: int = 8) -> str:
        """The end of what a process, such as "worker-1", has written on its standard error."""
        with contextlib.suppress(OSError):
            text = self._log(name).read_text(encoding="utf-8", errors="replace")
            return "\n".join(text.splitlines()[-lines:])
        return ""

    def _start(self, name: str, command: tuple[str, ...], pipe: int) -> subprocess.Popen[bytes]:
        assert self._watchdog is not None
        config = self._config
        settings = {
            "HEADWATER_BOOTSTRAP_SERVERS": config.bootstrap_servers,
            "HEADWATER_PREFIX": config.prefix,
            "HEADWATER_PROFILE": config.profile,
            "HEADWATER_PARTITIONS": str(config.partitions or ""),
            "HEADWATER_NODE_ID": name,
        }
        with self._log(name).open("ab") as log:
            return subprocess.Popen(
                # -P: a module of the folder that we are called in is none of ours.
                [sys.executable, "-P", "-m", *command],
                stdin=pipe,
                stdout=pipe,
                stderr=log,
                env={**os.environ, **settings},
                process_group=self._watchdog.group,
            )

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _listen(self, number: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith(b"\n"):
                self._heard(number, record.read(line))
        process.wait()
        self._heard(number, Event(kind="gone", text=str(process.returncode)))

    def _heard(self, number: int, event: Event) -> None:
        self.events.put(Seen(worker=number, at_s=time.monotonic(), event=event))


def _kill(process: subprocess.Popen[bytes]) -> float:
    at_s = time.monotonic()
    process.send_signal(signal.SIGKILL)
    return at_s


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
