"""Plays recorded runs through agents, one change a message, and goes on where an agent is.

``python -m tests.support.player TASK``, where the task is a JSON object: ``runs`` (the file),
``done`` (a file of the runs that are finished, one a line), ``indexes`` of the runs to play, and
``pause_s`` between two changes.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import headwater
from headwater import Client, RetryableError
from headwater.agent.session import Session
from headwater.state.draft import StateView
from tests.support.runs import Run, name_of, read_runs

log = logging.getLogger("tests.player")


def play(client: Client, index: int, run: Run, pause_s: float) -> None:
    """Bring one agent from wherever it is to the end of its run."""
    with client.agent(name_of(index), session=name_of(index)) as agent:
        # Every second run sends ahead without waiting.
        wait = index % 2 == 0
        for step in range(agent.state.step, len(run["traj"])):
            one(agent, run, step, wait)
            time.sleep(pause_s)


def one(agent: Session, run: Run, step: int, wait: bool) -> None:
    """One message, one change."""
    message = run["traj"][step]
    with agent.change(wait=wait) as state:
        if step == 0:
            begin(state, run)
        state.messages.append(message)
        state.step = step + 1
        state.data["last_role"] = message["role"]
        for call in message.get("tool_calls") or ():
            state.data["tools"].append(call["function"]["name"])
        state.status = "done" if state.step == len(run["traj"]) else "working"


def begin(state: StateView, run: Run) -> None:
    """What is known before the first message."""
    state.task = run["task_id"]
    state.data["tools"] = []
    for name in ("info", "reward", "trial"):
        state.metadata[name] = run[name]


def work(task: dict[str, Any]) -> None:
    """Play the task's runs."""
    runs = read_runs(Path(task["runs"]))
    finished = os.open(task["done"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with headwater.connect() as client:
        for index in task["indexes"]:
            while True:
                try:
                    play(client, index, runs[index], task["pause_s"])
                except RetryableError as error:
                    log.warning("run %d: %s", index, error)
                else:
                    break
            os.write(finished, f"{index}\n".encode())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    work(json.loads(sys.argv[1]))
