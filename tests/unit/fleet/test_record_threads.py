"""Records that several threads decode for the first time at the same moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

PROGRAM = """
import sys, threading
sys.path.insert(0, sys.argv[1])
sys.setswitchinterval(1e-6)
from headwater.fleet.records import Heartbeat
beat = dict(node_id="a", incarnation=b"0" * 16, kind="BEAT", sequence=1, lease_ms=1, sent_at=1,
            agents=[dict(agent_id="a", kind="k")],
            kinds=[dict(kind="k", latency=[dict(bucket=1, count=1)])])
barrier = threading.Barrier(4)
def work():
    barrier.wait()
    for _ in range(50):
        Heartbeat.from_record(dict(beat))
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_may_decode_the_first_record_together() -> None:
    """Without care this ends the process with SIGSEGV, about every third time."""
    command = [sys.executable, "-c", PROGRAM, str(ROOT / "src")]
    ends = [subprocess.run(command, check=False).returncode for _ in range(8)]
    assert ends == [0] * 8
