"""The Faust app: three agents that read samples out of the topics, and one that counts them.

Samples go through a topic of one partition, so that one instance has them all, whichever
partitions of the inputs it has; the others take its place when it ends. Its table keeps what the
board hands out. Offsets are committed once all that was sent before is acknowledged; what is read
again after a crash changes nothing, for boards count nothing twice and metrics have the keys of
their windows.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NoReturn

import faust
import msgspec
from faust.transport.drivers.aiokafka import Consumer
from yarl import URL

from headwater.clock import wall_ms
from headwater.config import Config
from headwater.errors import SchemaTooNew, UndecodableRecord
from headwater.fleet.feed import partitions_of
from headwater.fleet.records import Heartbeat, RecoveryResult
from headwater.log.chain import partition_of
from headwater.wire import codec

from .board import Board, Windows
from .cells import metric_key
from .credentials import credentials
from .samples import (
    Sample,
    Tick,
    decode_sample,
    encode_sample,
    sample_beat,
    sample_commit,
    sample_outcome,
)

log = logging.getLogger("headwater.insights")

TICK_S = 1.0
_HANGS_S = 60.0
_FAILED = 70
_SESSION_S = 6.0
_METRICS = partitions_of("metrics")


class Strict(faust.Sensor):
    """Faust goes on when something could not be written, and would commit the offsets behind it."""

    def on_send_error(self, producer: Any, exc: BaseException, state: Any) -> None:
        """End the process: the next one begins with what is committed."""
        _die(f"a record could not be written: {exc!r}")


class Careful(Consumer):
    """Faust resumes its streams and looks up only then where they are to begin. What comes in
    between is taken in, its offset noted as read once all has been set back, and what lies before
    it, read again, is dropped: samples were lost for good when a worker was started anew.
    """

    async def perform_seek(self) -> None:
        """Let nothing through until the positions are those that were committed; whoever asks for
        this lets it flow again.
        """
        self.stop_flow()
        await super().perform_seek()


class Insights:
    """The app, and what its agents share. ``alive`` is called while all is well."""

    def __init__(
        self, config: Config, windows: Windows, directory: Path, alive: Callable[[], None]
    ) -> None:
        self.app = _make_app(config, directory)
        self._windows = windows
        self._alive = alive
        self._board: Board | None = None
        self._counted_s = time.monotonic()
        self._samples = self._topic(config.topic("samples"), 1)
        self._metrics = config.topic("metrics")
        self._table = self.app.Table(
            "sources",
            key_type=bytes,
            value_type=bytes,
            partitions=1,
            options={"driver": "rocksdict"},
        )
        self._build(config)

    def _topic(self, name: str, partitions: int) -> Any:
        return self.app.topic(
            name, key_type=bytes, value_type=bytes, value_serializer="raw", partitions=partitions
        )

    def _build(self, config: Config) -> None:
        for name, partitions, read in (
            ("heartbeats", partitions_of("heartbeats"), _read_beat),
            ("outcomes", partitions_of("outcomes"), _read_outcome),
            ("commits", 1, _read_commit),
        ):
            topic = self._topic(config.topic(name), partitions)
            self.app.agent(topic, name=name)(self._reader(read))
        self.app.agent(self._samples, name="count")(self._count)
        self.app.timer(TICK_S)(self._tick)
        self.app.on_partitions_revoked.connect(self._forget, weak=False)

    def _reader(self, read: Callable[[bytes, int], Sample | None]) -> Any:
        """An agent that turns the records of a topic into samples."""

        async def forward(stream: Any) -> None:
            async for event in stream.events():
                at_ms = round(event.message.timestamp * 1000)
                if (sample := _sample(read, event.value, at_ms)) is None:
                    continue
                # Nobody waits for metrics of so long ago, and their panes are gone.
                if sample.at_ms >= wall_ms() - self._windows.keep_ms:
                    await self._samples.send(value=encode_sample(sample), partition=0)

        return self._guarded(forward)

    def _guarded(self, agent: Any) -> Any:
        """An agent that fails ends the process; Faust's worker may not even hear SIGTERM then."""

        async def guarded(stream: Any) -> None:
            try:
                await agent(stream)
            except Exception:
                log.exception("insights failed")
                _die("an agent failed")

        return guarded

    async def _tick(self) -> None:
        await self._samples.send(value=encode_sample(Tick(wall_ms())), partition=0)
        now_s = time.monotonic()
        if not self._counts_here():
            self._counted_s = now_s
        if now_s - self._counted_s < _HANGS_S:
            self._alive()

    def _counts_here(self) -> bool:
        topic = self._samples.get_topic_name()
        return any(tp.topic == topic for tp in self.app.consumer.assignment())

    async def _forget(self, *_: Any, **__: Any) -> None:
        # Whoever has the partition next writes to the table; it is read again when it comes back.
        self._board = None

    def _loaded(self) -> Board:
        if self._board is None:
            records = ((key.decode(), value) for key, value in self._table.items())
            self._board = Board(self._windows, records)
        return self._board

    async def _count(self, stream: Any) -> None:
        await self._guarded(self._take_all)(stream)

    async def _take_all(self, stream: AsyncIterator[bytes]) -> None:
        async for value in stream:
            try:
                sample = decode_sample(value)
            except msgspec.MsgspecError:
                log.warning("%d bytes in samples are no sample", len(value))
                continue
            board = self._loaded()
            if isinstance(sample, Tick):
                await self._publish(board, sample.now_ms)
                writes = board.settle(sample.now_ms)
                self._counted_s = time.monotonic()
            else:
                writes = board.take(sample)
            for key, record in writes:
                if record is None:
                    self._table.pop(key.encode(), None)
                else:
                    self._table[key.encode()] = record

    async def _publish(self, board: Board, now_ms: int) -> None:
        # By the producer itself, for a third of what a topic's own send costs.
        send = self.app.producer.send
        sent = [
            await send(
                self._metrics,
                metric_key(metric).encode(),
                metric.encode(),
                partition_of(metric.component.encode(), _METRICS),
                None,
                None,
            )
            for metric in board.tick(now_ms)
        ]
        for each in sent:
            await each


def _make_app(config: Config, directory: Path) -> Any:
    servers = config.bootstrap_servers.split(",")
    app: Any = faust.App(
        f"{config.prefix}insights",
        broker=[URL(f"kafka://{server.strip()}") for server in servers],
        broker_credentials=credentials(config),
        broker_client_id=f"headwater-{config.node_id}",
        broker_session_timeout=_SESSION_S,
        broker_heartbeat_interval=_SESSION_S / 4,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        datadir=directory,
        store=URL("rocksdb://"),
        stream_wait_empty=False,
        # All topics are there: a partition more or less would change what the metrics say.
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    app.transport.Consumer = Careful
    return app


def _sample(read: Callable[[bytes, int], Sample | None], value: Any, at_ms: int) -> Any:
    if not value:
        return None
    try:
        return read(value, at_ms)
    except (UndecodableRecord, SchemaTooNew) as error:
        log.warning("not counted: %s", error)
        return None


def _read_beat(value: bytes, at_ms: int) -> Sample | None:
    return sample_beat(Heartbeat.decode(value), at_ms)


def _read_outcome(value: bytes, at_ms: int) -> Sample | None:
    return sample_outcome(RecoveryResult.decode(value))


def _read_commit(value: bytes, at_ms: int) -> Sample | None:
    return sample_commit(codec("CompactorCommit").decode(value))


def _die(why: str) -> NoReturn:
    log.critical("%s; insights ends, to go on from what is committed", why)
    os._exit(_FAILED)
