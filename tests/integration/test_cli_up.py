"""`headwater up` in a process of its own: what it starts works, and never outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import headwater
from headwater import Config
from headwater.cli.errors import Exit
from headwater.local import prepare

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90


@dataclass
class Up:
    """A running `up`, its address, and the processes that it has started so far."""

    process: subprocess.Popen[str]
    config: Config
    log: Path

    @property
    def children(self) -> list[psutil.Process]:
        """Whatever it started, directly or not."""
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def compactor(self) -> psutil.Process | None:
        """The compactor's process, if one runs."""
        for each in self.children:
            if "compact" in each.cmdline():
                return each
        return None


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """`headwater up` with temporary data, once it has said that it runs."""
    prepare()
    log = tmp_path / "stderr"
    environment = {name: value for name, value in os.environ.items() if "HEADWATER" not in name}
    environment |= {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "XDG_DATA_HOME": str(tmp_path)}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "headwater", "up", "--temporary", "--partitions", "2"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("export HEADWATER_BOOTSTRAP_SERVERS="), log.read_text()
    address = line.strip().partition("=")[2]
    yield Up(process, Config(bootstrap_servers=address, profile="fast"), log)
    process.stdout.close()
    process.kill()
    process.wait()


def eventually(condition: Callable[[], object], what: str) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def gone(processes: list[psutil.Process]) -> Callable[[], bool]:
    """Whether none of these processes runs any more."""
    return lambda: (
        not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)
    )


def snapshots(config: Config) -> int:
    """From how many snapshots the agent is recovered."""
    with headwater.connect(config) as hw:
        return hw.get("a").snapshots


def publish(config: Config) -> None:
    """One more change of the agent."""
    with headwater.connect(config) as hw, hw.agent("a") as agent, agent.change() as state:
        state.step += 1


def test_up_runs_everything_and_ctrl_c_stops_all(up: Up) -> None:
    """Agents publish, the compactor takes snapshots, a killed one comes back; Ctrl-C ends all."""
    publish(up.config)
    eventually(lambda: snapshots(up.config) > 0, "no snapshot was taken")
    first = up.compactor()
    assert first is not None
    first.kill()
    eventually(lambda: "compactor 1 was killed by signal 9" in up.log.read_text(), "not noticed")
    eventually(lambda: (found := up.compactor()) and found.pid != first.pid, "not started again")
    children = up.children
    assert len(children) >= 4  # broker, compactor, and a watchdog for each
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(PATIENCE_S) == Exit.INTERRUPTED
    eventually(gone(children), "something outlived `up`")


def test_nothing_outlives_a_sigkill(up: Up) -> None:
    """SIGKILL of `up` leaves neither broker nor compactor nor watchdog."""
    children = up.children
    assert up.compactor() is not None
    up.process.kill()
    eventually(gone(children), "something outlived `up`")


def test_sigterm_is_an_orderly_end(up: Up) -> None:
    """SIGTERM, as a supervisor sends it, stops all and exits with 0."""
    children = up.children
    up.process.terminate()
    assert up.process.wait(PATIENCE_S) == Exit.OK
    eventually(gone(children), "something outlived `up`")
