"""The demo on a real Kafka: as it is, sabotaged, interrupted, and killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from headwater.local import ExistingKafka, LocalKafka

pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = ("--agents", "4", "--workers", "2", "--steps", "40", "--json")
Kafka = LocalKafka | ExistingKafka


@contextmanager
def demo(kafka: Kafka, tmp_path: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A running demo on this Kafka; it is killed if it has not ended by then."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    given = {"HEADWATER_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "PYTHONPATH": path}
    with subprocess.Popen(
        [sys.executable, "-m", "headwater", "demo", *SMALL],
        cwd=tmp_path,
        env={**os.environ, **given, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(kafka: Kafka, tmp_path: Path, **variables: str) -> tuple[int, dict[str, Any], str]:
    """Run the demo to its end: exit code, result, and what it said."""
    with demo(kafka, tmp_path, **variables) as process:
        out, said = process.communicate(timeout=240)
    assert out, said
    return process.returncode, json.loads(out), said


def demo_topics(kafka: Kafka) -> set[str]:
    """The topics that demos have made and not deleted."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    return {name for name in admin.list_topics(timeout=10).topics if "-demo-" in name}


def test_nothing_is_lost_and_nothing_done_twice(headwater_kafka: Kafka, tmp_path: Path) -> None:
    """A worker and a compactor are killed in mid-work, and every state is that of a calm run."""
    before = demo_topics(headwater_kafka)
    status, result, said = finish(headwater_kafka, tmp_path)
    assert result["problems"] == [], said
    assert status == 0
    assert (result["repeated"], result["lost"], result["hash_equal"]) == (0, 0, True)
    kills = {kill["who"]: kill for kill in result["kills"]}
    assert kills.keys() == {"compactor-1", "worker-2"}
    orphans = set(kills["worker-2"]["agents"])
    assert orphans
    for agent in result["agents"]:
        assert agent["steps"] == agent["planned"] >= 10
        assert (agent["recovery_ms"] is not None) == (agent["id"] in orphans)
    begun = {step.partition(" ")[0] for step in kills["worker-2"]["open_steps"]}
    assert result["restarted"] <= len(begun)
    assert result["compactor"]["caught_up"]
    assert result["audit"]["files"] >= result["audit"]["verified"] > 0
    assert demo_topics(headwater_kafka) == before


@pytest.mark.parametrize(
    ("sabotage", "lost", "repeated"), [("drop", 4, 0), ("double", 0, 4), ("alter", 0, 0)]
)
def test_sabotage_is_caught(
    headwater_kafka: Kafka, tmp_path: Path, sabotage: str, lost: int, repeated: int
) -> None:
    """One step of each of four agents is dropped, done twice or altered: the counters see it."""
    status, result, _ = finish(headwater_kafka, tmp_path, HEADWATER_TEST_DEMO_SABOTAGE=sabotage)
    assert status == 1
    assert (result["lost"], result["repeated"]) == (lost, repeated)
    assert result["hash_equal"] is False
    assert not any(agent["hash_equal"] for agent in result["agents"])
    assert result["problems"]


def await_work(process: subprocess.Popen[str]) -> list[int]:
    """Wait until compactor and workers are ready; their process ids."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.match(r"the compactor \(process (\d+)\) and the workers \((.*)\)", line):
            return [int(found[1]), *map(int, found[2].split(","))]
    raise AssertionError("the demo ended before it began")


def gone(pid: int) -> bool:
    """Whether no such process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_process_outlives_the_demo(
    headwater_kafka: Kafka, tmp_path: Path, number: int, status: int
) -> None:
    """Ctrl-C ends the demo in order, SIGKILL at once: none of its processes stays behind."""
    with demo(headwater_kafka, tmp_path) as process:
        pids = await_work(process)
        assert process.stderr is not None
        threading.Thread(target=process.stderr.read, daemon=True).start()
        os.kill(process.pid, number)
        assert process.wait(timeout=60) == status
        deadline = time.monotonic() + 15
        while not all(map(gone, pids)):
            assert time.monotonic() < deadline, f"still there: {[p for p in pids if not gone(p)]}"
            time.sleep(0.05)
