"""Python programs in processes of their own, to be killed, frozen and watched."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from headwater import Config

log = logging.getLogger("tests.support")

ROOT = Path(__file__).resolve().parent.parent.parent


def environment(config: Config, **extra: str) -> dict[str, str]:
    """The environment of a process that is to work with the same topics."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HEADWATER_")}
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HEADWATER_BOOTSTRAP_SERVERS": config.bootstrap_servers,
        "HEADWATER_PREFIX": config.prefix,
        "HEADWATER_PROFILE": config.profile,
        **extra,
    }


class Program:
    """``python -m module``, with its talk in ``log``. ``task`` is its arguments, if it is a list;
    anything else is the one argument, in JSON. ``prefix`` comes before it all, and must become it.
    """

    def __init__(
        self,
        name: str,
        module: str,
        task: Any,
        env: Mapping[str, str],
        log: Path,
        prefix: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.log = log
        arguments = task if isinstance(task, list) else [json.dumps(task)]
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [*prefix, sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**env, "HEADWATER_NODE_ID": name},
                cwd=ROOT,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._popen.kill()
        self._popen.wait()

    def pause(self) -> None:
        """SIGSTOP: it holds all that it has and does nothing."""
        self._popen.send_signal(signal.SIGSTOP)
        self.await_paused()

    def await_paused(self, timeout_s: float = 30.0) -> None:
        """Wait until it is stopped, by itself or by others."""
        process = psutil.Process(self.pid)
        eventually(
            lambda: process.status() == psutil.STATUS_STOPPED, timeout_s, f"{self.name} stops"
        )

    def resume(self) -> None:
        """SIGCONT."""
        self._popen.send_signal(signal.SIGCONT)

    def end(self, timeout_s: float = 40.0) -> None:
        """SIGTERM, and wait; it must end well."""
        self._popen.send_signal(signal.SIGTERM)
        code = self.wait(timeout_s)
        assert code == 0, f"{self.name} ended with {code}:\n{self.tail()}"

    def wait(self, timeout_s: float = 40.0) -> int:
        """Its exit code, negative for a signal; fails the test if that takes too long."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end:\n{self.tail()}") from None

    def await_crash(self, timeout_s: float = 40.0) -> None:
        """Wait until it has killed itself at its crash point."""
        code = self.wait(timeout_s)
        assert code == -signal.SIGKILL, f"{self.name} ended with {code}:\n{self.tail()}"

    def tail(self, lines: int = 40) -> str:
        """The end of what it said."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])


class Programs:
    """All programs of a test; none outlives it."""

    def __init__(self, config: Config, directory: Path) -> None:
        self.config = config
        self.directory = directory
        self._all: list[Program] = []

    def start(
        self, name: str, module: str, task: Any, *, prefix: Sequence[str] = (), **env: str
    ) -> Program:
        """Start one; ``env`` is added to its environment, ``prefix`` comes before its command."""
        log = self.directory / f"{name}.log"
        program = Program(name, module, task, environment(self.config, **env), log, prefix)
        self._all.append(program)
        return program

    def compactor(self, name: str = "compactor", *, commit_ms: str = "250", **env: str) -> Program:
        """Start an instance of the compactor."""
        options = ["--commit-interval-ms", commit_ms]
        return self.start(name, "streams.snapshots", options, **env)

    def close(self) -> None:
        """Kill whatever is left."""
        for program in self._all:
            if program.running:
                program.kill()


@contextlib.contextmanager
def programs(config: Config, directory: Path) -> Iterator[Programs]:
    """Programs that end with the block, however it ends."""
    started = Programs(config, directory)
    try:
        yield started
    finally:
        started.close()


def eventually(
    true: Callable[[], bool], timeout_s: float, what: str, step_s: float = 0.02
) -> float:
    """Wait until ``true()``; the seconds that it took. Fails the test after ``timeout_s``."""
    started = time.monotonic()
    while not true():
        if time.monotonic() - started > timeout_s:
            raise AssertionError(f"not in {timeout_s:g} s: {what}")
        time.sleep(step_s)
    seconds = time.monotonic() - started
    log.info("after %.1f s: %s", seconds, what.partition("\n")[0])
    return seconds
