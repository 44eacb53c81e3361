"""Faults in random order, one after the other or on top of each other, for minutes.

The order follows from a seed, which is printed; ``HEADWATER_SEED`` sets it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest

from headwater.local import LocalKafka
from tests.support.fleet import Fleet, spread
from tests.support.processes import Program

pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.long]

AGENTS = spread(12)
FAULTS = 30
PARTS = 3


class Chaos:
    """Workers that share the agents, two compactors, and what is done to them."""

    def __init__(self, fleet: Fleet, cluster: LocalKafka, seed: int) -> None:
        self.random = random.Random(seed)
        self._fleet = fleet
        self._cluster = cluster
        self._births = 0
        self._workers = [self._worker(part) for part in range(PARTS)]
        self._compactors = [self._compactor() for _ in range(2)]

    def _worker(self, part: int) -> Program:
        self._births += 1
        return self._fleet.worker(
            f"worker-{part}-{self._births}", AGENTS[part::PARTS],
            burst=self.random.choice([1, 4, 16]), pause_s=0.5, again=True,
        )  # fmt: skip

    def _compactor(self) -> Program:
        self._births += 1
        return self._fleet.compactor(f"compactor-{self._births}")

    def faults(self) -> list[Callable[[], None]]:
        """All that can be done."""
        return [
            self.kill_worker,
            self.kill_compactor,
            self.kill_broker,
            self.freeze_worker,
            self.freeze_broker,
        ]

    def kill_worker(self) -> None:
        """SIGKILL; another process goes on."""
        part = self.random.randrange(PARTS)
        self._workers[part].kill()
        self._workers[part] = self._worker(part)

    def kill_compactor(self) -> None:
        """SIGKILL; another instance follows."""
        number = self.random.randrange(2)
        self._compactors[number].kill()
        self._compactors[number] = self._compactor()

    def kill_broker(self) -> None:
        """SIGKILL, and a new start; the others must be in sync before the next fault."""
        node = self.random.choice(self._cluster.nodes)
        self._cluster.kill(node)
        time.sleep(self.random.uniform(0, 5))
        self._cluster.start_node(node)
        self._fleet.await_in_sync()

    def freeze_worker(self) -> None:
        """SIGSTOP past the lease while a rival wants its agents, then SIGCONT."""
        part = self.random.randrange(PARTS)
        self._workers[part].pause()
        rival = self._worker(part)
        time.sleep(self.random.uniform(0.5, 4))
        self._workers[part].resume()
        time.sleep(self.random.uniform(0, 2))
        self._workers[part].kill()
        self._workers[part] = rival

    def freeze_broker(self) -> None:
        """SIGSTOP: its connections stay open and nothing answers; then SIGCONT."""
        node = self.random.choice(self._cluster.nodes)
        self._cluster.pause(node)
        time.sleep(self.random.uniform(0.2, 5))
        self._cluster.resume(node)
        self._fleet.await_in_sync()

    def end(self) -> None:
        """End the workers in order."""
        for worker in self._workers:
            worker.end(60)


@pytest.mark.timeout(900)
def test_a_random_schedule(fleet: Fleet, cluster: LocalKafka) -> None:
    """Whatever comes together: what was acknowledged is there once, whole and in order."""
    seed = int(os.environ.get("HEADWATER_SEED") or random.randrange(2**32))
    print(f"seed {seed} (again with HEADWATER_SEED={seed})")
    chaos = Chaos(fleet, cluster, seed)
    fleet.await_acks(AGENTS, 5)
    for _ in range(FAULTS):
        fault = chaos.random.choice(chaos.faults())
        print(fault.__name__)
        fault()
        time.sleep(chaos.random.uniform(0, 3))
    fleet.await_acks(AGENTS, 5)
    chaos.end()
    fleet.await_compacted()
    fleet.check()
