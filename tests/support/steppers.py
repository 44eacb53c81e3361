"""Agents whose steps go wrong as their names say: ``hang-1`` hangs in its fifth step, and so on."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from headwater import DONE, HostedAgent

TROUBLE_AT = 5
LAST = 8
HANGS_S = 2.5
BLOCKS_S = 60.0


def trouble(agent: Any) -> str:
    """What is to go wrong now: in the fifth step, once."""
    name, _, _ = agent.agent_id.partition("-")
    return name if agent.state.data.get("n") == TROUBLE_AT else ""


def count(state: Any) -> None:
    """The change that each step makes."""
    state.data["n"] = state.data.get("n", 0) + 1
    state.step += 1


class Async(HostedAgent):
    """``hang``: waits for ever. ``block``: blocks the loop. ``raise``: raises. ``end``: is done at
    its eighth step. ``open``: hangs within a change.
    """

    pause = timedelta(milliseconds=20)
    deadline = timedelta(seconds=1)

    async def step(self, agent: Any) -> Any:
        """Count; then what its name says."""
        async with agent.change() as state:
            count(state)
        match trouble(agent):
            case "hang":
                await asyncio.sleep(HANGS_S)
            case "block":
                time.sleep(BLOCKS_S)  # noqa: ASYNC251 - what a careless step does
            case "raise":
                raise ValueError("told to")
            case "open":
                async with agent.change() as state:
                    state.data["late"] = True
                    # It does not even listen when it is cancelled.
                    with suppress(asyncio.CancelledError):
                        await asyncio.sleep(HANGS_S)
            case _:
                return DONE if agent.agent_id.startswith("end") and state_ends(agent) else None
        async with agent.change() as state:
            state.data["late"] = True
        return None


class Plain(HostedAgent):
    """The same on threads."""

    pause = timedelta(milliseconds=20)
    deadline = timedelta(seconds=1)

    def step(self, agent: Any) -> Any:
        """Count; then what its name says."""
        with agent.change() as state:
            count(state)
        match trouble(agent):
            case "hang":
                time.sleep(HANGS_S)
            case "raise":
                raise ValueError("told to")
            case "open":
                with agent.change() as state:
                    state.data["late"] = True
                    time.sleep(HANGS_S)
            case _:
                return DONE if agent.agent_id.startswith("end") and state_ends(agent) else None
        with agent.change() as state:
            state.data["late"] = True
        return None


def state_ends(agent: Any) -> bool:
    """Whether it has counted far enough."""
    return bool(agent.state.data["n"] >= LAST)
