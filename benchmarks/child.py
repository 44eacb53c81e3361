"""Runs one side of a benchmark in a process of its own, so that its CPU time is its own.

A side is a function ``module:name`` that takes one dict and returns one, both of JSON's types. It
imports and prepares, starts a :class:`~benchmarks.measure.Meter`, works, and stops it.
"""

from __future__ import annotations

import cProfile
import importlib
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROFILE_ENV = "HEADWATER_BENCH_PROFILE"
_TIMEOUT_S = 900


class SideFailed(Exception):
    """A side ended without a result; its output is in the message."""


def run_side(side: str, *, python: str | None = None, **params: Any) -> dict[str, Any]:
    """The result of ``side``, run by ``python`` (None: this one) in a new process."""
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as scratch:
        result = Path(scratch) / "result.json"
        command = [python or sys.executable, "-m", "benchmarks.child", side, str(result)]
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
        done = subprocess.run(
            command,
            input=json.dumps({**params, "scratch": scratch}),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            cwd=scratch,
            env=environment,
            check=False,
        )
        if not result.exists():
            tail = (done.stderr + done.stdout)[-4000:]
            raise SideFailed(f"{side} ended with {done.returncode} and no result:\n{tail}")
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


def installed(params: dict[str, Any]) -> dict[str, Any]:
    """A side that tells the versions of ``packages`` in its environment."""
    return {package: version(package) for package in params["packages"]}


def finish(path: str, result: dict[str, Any]) -> None:
    """Leave the result where the parent looks for it, whole or not at all."""
    target = Path(path)
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(result), encoding="utf-8")
    partial.rename(target)


def main() -> None:
    """``python -m benchmarks.child MODULE:FUNCTION RESULT``, parameters on stdin."""
    side, path = sys.argv[1:]
    module, _, name = side.partition(":")
    params = json.load(sys.stdin) | {"result": path}
    function = getattr(importlib.import_module(module), name)
    folder = os.environ.get(PROFILE_ENV)
    if not folder:
        finish(path, function(params))
        return
    profile = cProfile.Profile()
    finish(path, profile.runcall(function, params))
    profile.dump_stats(Path(folder) / f"{module}.{name}.{os.getpid()}.pstats")


if __name__ == "__main__":
    main()
