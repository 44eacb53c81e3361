"""The compactor as a process beside a benchmark, and how far it has come."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from benchmarks.child import ROOT
from benchmarks.cluster import is_end, raw_consumer
from headwater.config import Config
from headwater.log.snapshots import POSITION_KEY
from headwater.wire import codec
from streams.snapshots import Compactor, Timing

_STOP_S = 30.0


class Positions:
    """Follows the compactor's positions in the index topic."""

    def __init__(self, config: Config, alive: Callable[[], bool] = lambda: True) -> None:
        self._alive = alive
        self._partitions = range(config.partitions or 0)
        self._events = config.topic("events")
        self._consumer: Consumer = raw_consumer(
            config, {config.topic("index"): list(self._partitions)}
        )
        self._next = dict.fromkeys(self._partitions, 0)

    def ends(self) -> dict[int, int]:
        """Where each events partition ends now."""
        return {
            p: self._consumer.get_watermark_offsets(TopicPartition(self._events, p))[1]
            for p in self._partitions
        }

    def wait(self, timeout_s: float = 120.0) -> None:
        """Return once everything that the events topic holds now is in snapshots and index."""
        ends = self.ends()
        deadline = time.monotonic() + timeout_s
        while any(self._next[p] < end for p, end in ends.items()):
            if not self._alive():
                raise RuntimeError("the compactor has ended")
            if time.monotonic() > deadline:
                raise TimeoutError(f"compactor at {self._next} of {ends} after {timeout_s:g} s")
            first = self._consumer.poll(0.1)
            rest = self._consumer.consume(2000, 0) if first is not None else []
            for message in (first, *rest) if first is not None else ():
                if not is_end(message) and message.key() == POSITION_KEY:
                    position = codec("Position").decode(message.value() or b"")
                    self._next[position["partition"]] = position["next_offset"]

    def close(self) -> None:
        """Stop following."""
        self._consumer.close()


@contextmanager
def compacting(config: Config, commit_s: float = 0.25) -> Iterator[Positions]:
    """A compactor of the default strategy that commits every ``commit_s``; ends with the block."""
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
        "HEADWATER_BOOTSTRAP_SERVERS": config.bootstrap_servers,
        "HEADWATER_PREFIX": config.prefix,
        "HEADWATER_NODE_ID": f"{config.node_id}-compactor",
    }
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as scratch:
        log = Path(scratch) / "compactor.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.compaction", str(commit_s)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=scratch,
            )
        positions = Positions(config, alive=lambda: process.poll() is None)
        try:
            yield positions
        except BaseException as error:
            process.send_signal(signal.SIGUSR1)  # where it is
            time.sleep(0.2)
            error.add_note(f"the compactor says:\n{log.read_text(errors='replace')[-20000:]}")
            raise
        finally:
            positions.close()
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """``python -m benchmarks.compaction SECONDS``: a compactor that commits as often as that."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    faulthandler.register(signal.SIGUSR1)
    stop = threading.Event()

    def end_with_the_benchmark() -> None:
        # It holds the other end of stdin.
        sys.stdin.read()
        stop.set()

    threading.Thread(target=end_with_the_benchmark, daemon=True).start()
    Compactor(Config.load(), timing=Timing(commit_s=float(sys.argv[1]))).run(stop)


if __name__ == "__main__":
    main()
