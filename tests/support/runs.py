"""The recorded agent runs: where they are, and the states that they must end in."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from headwater.state.model import Document
from tests.support.processes import ROOT

FILE = "tau-bench-airline.json.gz"
Run = dict[str, Any]


def find_runs() -> Path:
    """The file of recorded runs, in HEADWATER_DATA or beside the checkout; else a skip."""
    place = Path(os.environ.get("HEADWATER_DATA") or ROOT.parent / "shared" / "data")
    path = place / FILE
    if not path.is_file():
        pytest.skip(f"the recorded runs are not there: no {path} (HEADWATER_DATA names the folder)")
    return path


def read_runs(path: Path) -> list[Run]:
    """The runs, in the file's order."""
    with gzip.open(path) as file:
        runs: list[Run] = json.load(file)
    return runs


def name_of(index: int) -> str:
    """The agent that plays a run."""
    return f"run-{index:03}"


def expected(index: int, run: Run) -> Document:
    """The document of the agent that has played the whole run: straight from the file."""
    tools = [call["function"]["name"] for m in run["traj"] for call in m.get("tool_calls") or ()]
    return {
        "session_id": name_of(index),
        "request_id": None,
        "status": "done",
        "step": len(run["traj"]),
        "max_steps": None,
        "task": run["task_id"],
        "data": {"last_role": run["traj"][-1]["role"], "tools": tools},
        "messages": run["traj"],
        "execution_history": [],
        "tool_contexts": {},
        "metadata": {"info": run["info"], "reward": run["reward"], "trial": run["trial"]},
    }
