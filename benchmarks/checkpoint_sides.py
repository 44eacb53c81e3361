"""Headwater's sides of `checkpoint`, each in a process of its own."""

from __future__ import annotations

import time
from typing import Any

import headwater
from benchmarks.checkpoint_load import Load, named
from benchmarks.cluster import config_of
from benchmarks.measure import Meter, latencies_ms

AGENT = "checkpointed"
# As much as one change may hold, with room for what it is wrapped in.
_PIECE = 800


def begin(params: dict[str, Any]) -> dict[str, Any]:
    """Make the agent with the state to begin with."""
    with headwater.connect(config_of(params)) as hw, hw.agent(AGENT) as agent:
        values = list(Load(params).first().items())
        for start in range(0, len(values), _PIECE):
            with agent.change() as state:
                state.status = "busy"
                state.data.update(dict(values[start : start + _PIECE]))
    return {}


def save(params: dict[str, Any]) -> dict[str, Any]:
    """Change one value and make a checkpoint, again and again; each is waited for."""
    load = Load(params)
    meter, taken, ids = Meter(), [], []
    with headwater.connect(config_of(params)) as hw, hw.agent(AGENT) as agent:
        meter.start()
        for number in load.times:
            key, value = load.change(number)
            started = time.perf_counter()
            with agent.change(wait=False) as state:
                state.data[key] = value
            kept = agent.checkpoint("milestone")
            taken.append(time.perf_counter() - started)
            ids.append(kept.checkpoint_id)
        used = meter.stop()
    return {**named("save", latencies_ms(taken), used), "ids": ids}


def restore(params: dict[str, Any]) -> dict[str, Any]:
    """The states at some of the checkpoints, by a client that follows the index, with or without
    a cache of snapshots.
    """
    load, ids = Load(params), params["ids"]
    meter, taken = Meter(), []
    config = config_of(params).with_(snapshot_cache_bytes=params["cache_bytes"])
    with headwater.connect(config, follow_index=True) as hw:
        assert len(hw.checkpoints(AGENT)) >= len(ids)
        meter.start()
        for number in load.sample(params["restores"]):
            started = time.perf_counter()
            state = hw.at(AGENT, ids[number]).state
            taken.append(time.perf_counter() - started)
            key, value = load.change(number)
            if state.data[key] != value or len(state.data) != len(load.keys):
                raise RuntimeError(f"checkpoint {number} came back as another one")
        used = meter.stop()
    return named("restore", latencies_ms(taken), used)
