"""The agents of `failover`: each step is one change, noted once it is acknowledged."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache
from pathlib import Path

import headwater

NOTES_ENV = "HEADWATER_BENCH_NOTES"
LARGE_BYTES = 20_000
STEP_EVERY_S, LARGE_STEP_EVERY_S = 3, 10
_TEXT = "the headwater of a river is its source; "


@cache
def _notes() -> int:
    """The file, once for the process."""
    return os.open(Path(os.environ[NOTES_ENV]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class Counter(headwater.HostedAgent):
    """Counts its steps, one every few seconds. What it has counted stands in its messages, once."""

    pause = timedelta(seconds=STEP_EVERY_S)
    state_bytes = 0

    async def step(self, agent: headwater.AsyncSession) -> None:
        """Count one on, and note it when it is acknowledged."""
        number = agent.state.data.get("count", 0) + 1
        async with agent.change() as state:
            if number == 1 and self.state_bytes:
                state.data["text"] = (_TEXT * (self.state_bytes // len(_TEXT) + 1))[
                    : self.state_bytes
                ]
            state.data["count"] = number
            state.messages.append(number)
            state.status = "counting"
        os.write(_notes(), f"{agent.agent_id} {number}\n".encode())


class LargeCounter(Counter):
    """The same with a state of 20 KB, and more rarely: there are many."""

    pause = timedelta(seconds=LARGE_STEP_EVERY_S)
    state_bytes = LARGE_BYTES
