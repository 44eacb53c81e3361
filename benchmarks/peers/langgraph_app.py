"""LangGraph's savers in `checkpoint`: the same values, one channel for each field of the state."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from psycopg import Connection
from psycopg.rows import dict_row

from benchmarks.checkpoint_load import Load, named
from benchmarks.measure import Meter, latencies_ms

_THREAD = {"thread_id": "checkpointed", "checkpoint_ns": ""}
_FIELDS = {"session_id": "bench", "status": "busy", "step": 0, "messages": [], "metadata": {}}


def sqlite(params: dict[str, Any]) -> dict[str, Any]:
    """The SQLite saver: write-ahead log, synced at checkpoints of that log alone."""
    path = Path(params["scratch"]) / "checkpoints.sqlite"
    connection = sqlite3.connect(path, check_same_thread=False)
    saver = SqliteSaver(connection)
    saver.setup()
    connection.execute("PRAGMA synchronous=NORMAL")

    def size_bytes() -> int:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.stat().st_size

    try:
        return _measured(saver, Load(params), params, size_bytes)
    finally:
        connection.close()


def postgres(params: dict[str, Any]) -> dict[str, Any]:
    """The PostgreSQL saver, on a server and a database of its own."""
    connection = Connection.connect(
        params["url"], autocommit=True, prepare_threshold=0, row_factory=dict_row
    )
    connection.execute("DROP SCHEMA public CASCADE")
    connection.execute("CREATE SCHEMA public")
    saver = PostgresSaver(connection)
    saver.setup()

    def size_bytes() -> int:
        found = connection.execute(
            "SELECT sum(pg_total_relation_size(oid)) AS size FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchone()
        return int(found["size"] if found else 0)

    try:
        return _measured(saver, Load(params), params, size_bytes)
    finally:
        connection.close()


def _measured(
    saver: Any, load: Load, params: dict[str, Any], size_bytes: Callable[[], int]
) -> dict[str, Any]:
    data = load.first()
    config = _put(saver, {"configurable": _THREAD}, data, 0, {"data", *_FIELDS})
    base = size_bytes()
    meter, taken, configs = Meter(), [], []
    meter.start()
    for number in load.times:
        key, value = load.change(number)
        started = time.perf_counter()
        data[key] = value
        config = _put(saver, config, data, number + 1, {"data"})
        taken.append(time.perf_counter() - started)
        configs.append(config)
    saving = named("save", latencies_ms(taken), meter.stop())
    kept = (size_bytes() - base) / len(taken)
    return {**saving, "bytes_per_checkpoint": kept, **_restored(saver, load, configs, params)}


def _put(saver: Any, config: Any, data: dict[str, bytes], number: int, changed: set[str]) -> Any:
    first, now = f"{0:032}", f"{number:032}"
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {**_FIELDS, "data": data}
    checkpoint["channel_versions"] = {**dict.fromkeys(_FIELDS, first), "data": now}
    metadata = {"source": "loop", "step": number, "parents": {}}
    return saver.put(config, checkpoint, metadata, dict.fromkeys(changed, now))


def _restored(
    saver: Any, load: Load, configs: list[Any], params: dict[str, Any]
) -> dict[str, float]:
    meter, taken = Meter(), []
    saver.get_tuple(configs[0])
    meter.start()
    for number in load.sample(params["restores"]):
        started = time.perf_counter()
        found = saver.get_tuple(configs[number])
        taken.append(time.perf_counter() - started)
        key, value = load.change(number)
        values = found.checkpoint["channel_values"]["data"]
        if values[key] != value or len(values) != len(load.keys):
            raise RuntimeError(f"checkpoint {number} came back as another one")
    return named("restore", latencies_ms(taken), meter.stop())
