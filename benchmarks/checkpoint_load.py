"""The state that `checkpoint` saves, the same for every side; nothing but Python's own library."""

from __future__ import annotations

import random
from typing import Any

VALUE_BYTES = 1024


class Load:
    """Keys with incompressible values, and the change of one of them for each checkpoint."""

    def __init__(self, params: dict[str, Any]) -> None:
        self._seed = params["seed"]
        self.keys = [f"key-{n:04d}" for n in range(params["state_bytes"] // VALUE_BYTES)]
        self.times = range(params["times"])

    def first(self) -> dict[str, bytes]:
        """The values to begin with."""
        rng = random.Random(f"{self._seed} first")
        return {key: rng.randbytes(VALUE_BYTES) for key in self.keys}

    def change(self, number: int) -> tuple[str, bytes]:
        """The key and the value that change before a checkpoint."""
        rng = random.Random(f"{self._seed} {number}")
        return rng.choice(self.keys), rng.randbytes(VALUE_BYTES)

    def sample(self, times: int) -> list[int]:
        """Checkpoints to restore, in any order."""
        return random.Random(f"{self._seed} sample").sample(self.times, min(times, len(self.times)))


def named(what: str, figures: dict[str, float], used: dict[str, float]) -> dict[str, float]:
    """Latencies and CPU time under the name of what was done."""
    cpu_ms = used["cpu_s"] / figures["n"] * 1000
    return {f"{what}_{name}": value for name, value in figures.items()} | {f"{what}_cpu_ms": cpu_ms}
