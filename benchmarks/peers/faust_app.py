"""The `compact` job in Faust, at least once: kinder to it than exactly once, which is not trusted.

Settings: uvloop, rocksdict tables, quiet loggers, 1 MB lz4 producer batches, ``take_events``, and
each table entry written once a batch instead of once an event.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import weakref
from pathlib import Path
from typing import Any

import mode.loop

from benchmarks.child import finish
from benchmarks.measure import per_event
from benchmarks.peers.job import LAYOUTS, Progress, read_event

mode.loop.use("uvloop")

import faust  # noqa: E402  the event loop has to be chosen first
from faust.streams import _current_event  # noqa: E402

_BATCH = 1000
_COMMIT_S = 0.25


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Side: process ``total`` events of ``topic``, the first ``warm_up`` of them unmeasured.

    Leaves its result and ends the process: a Faust worker may take long to stop.
    """
    logging.disable(logging.WARNING)
    app = _app(params)
    _define(app, params)
    sys.argv = ["faust", "worker", "--without-web", "--loglevel", "error"]
    app.main()
    raise RuntimeError("the Faust worker ended by itself")


def _app(params: dict[str, Any]) -> faust.App:
    data = Path(params["scratch"]) / "faust"
    data.mkdir()
    return faust.App(
        params["group"],
        broker=f"kafka://{params['bootstrap_servers']}",
        store="rocksdb://?driver=rocksdict",
        datadir=str(data),
        topic_partitions=params["partitions"],
        topic_replication_factor=1,
        topic_allow_declare=True,
        table_standby_replicas=0,
        processing_guarantee="at_least_once",
        broker_commit_interval=_COMMIT_S,
        broker_commit_every=100_000,
        producer_compression_type="lz4",
        producer_max_batch_size=1 << 20,
        producer_linger=0.005,
        stream_buffer_maxsize=16_384,
        consumer_max_fetch_size=4 << 20,
        worker_redirect_stdouts=False,
        web_enabled=False,
    )


def _define(app: faust.App, params: dict[str, Any]) -> None:
    progress = Progress(params["warm_up"], params["total"])
    apply = LAYOUTS[params["layout"]]
    partitions = params["partitions"]
    raw = {"key_type": bytes, "value_type": bytes, "partitions": partitions}
    source = app.topic(params["topic"], key_serializer="raw", value_serializer="raw", **raw)
    table = app.Table("agents", **raw)

    @app.agent(source)
    async def compact(stream: Any) -> None:
        async for events in stream.take_events(_BATCH, within=0.1):
            batch = _Batch(table)
            for event in events:
                apply(batch.turn_to(event), read_event(event.key, event.value))
            batch.write()
            progress.count(len(events))
            if progress.done:
                await _end(progress, params["result"])


class _Batch:
    """The table's entries for the current event's agent; each is written once a batch."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._pending: dict[bytes, tuple[Any, bytes]] = {}
        self._event: Any = None

    def turn_to(self, event: Any) -> _Batch:
        # A table finds its partition by the current event, which take_events does not set.
        _current_event.set(weakref.ref(event))
        self._event = event
        return self

    def get_bytes(self, key: str) -> bytes | None:
        place = self._event.key + key.encode()
        pending = self._pending.get(place)
        if pending is not None:
            return pending[1]
        stored: bytes | None = self._table.get(place)
        return stored

    def set_bytes(self, key: str, value: bytes) -> None:
        self._pending[self._event.key + key.encode()] = (self._event, value)

    def write(self) -> None:
        for place, (event, value) in self._pending.items():
            _current_event.set(weakref.ref(event))
            self._table[place] = value


async def _end(progress: Progress, path: str) -> None:
    await asyncio.sleep(2 * _COMMIT_S)  # two commits, which cost CPU and hardly any
    result = progress.meter.stop()
    result["wall_s"] -= 2 * _COMMIT_S
    finish(path, per_event(result, progress.measured))
    os._exit(0)
