"""What compactors have done so far, as the index topic tells."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from headwater.config import Config
from headwater.errors import RetryableError
from headwater.kafka import clients
from headwater.kafka.reader import Reader
from headwater.log.snapshots import OWNER_KEY, POSITION_KEY
from headwater.wire import codec

log = logging.getLogger("headwater.demo.gauge")

_EVERY_S = 0.1


class Gauge:
    """Follows the index in a thread of its own: who took which partition over, and who commits."""

    def __init__(self, config: Config, partitions: int) -> None:
        self._config = config
        self._partitions = partitions
        self._owned: dict[str, set[int]] = {}
        self._commits: dict[str, list[float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headwater-demo-gauge", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def owns_all(self, compactor: str) -> bool:
        """Whether this compactor has taken every partition over, at one time or another."""
        return len(self._owned.get(compactor, ())) == self._partitions

    def commits(self, compactor: str) -> int:
        """How many transactions with snapshots this compactor has committed."""
        return len(self._commits.get(compactor, ()))

    def first_commit_s(self, compactor: str) -> float | None:
        """When its first transaction was seen, in time.monotonic(); None before that."""
        times = self._commits.get(compactor)
        return times[0] if times else None

    def _run(self) -> None:
        reader = Reader(self._config, clients.SCANS)
        starts: list[int | None] = [None] * self._partitions
        try:
            while not self._stop.wait(_EVERY_S):
                for partition in range(self._partitions):
                    try:
                        starts[partition] = self._look(reader, partition, starts[partition])
                    except RetryableError as error:
                        log.debug("looking again: %s", error)
        finally:
            reader.close()

    def _look(self, reader: Reader, partition: int, start: int | None) -> int | None:
        for batch in reader.scan(self._config.topic("index"), partition, start):
            for message in batch:
                start = (message.offset() or 0) + 1
                key, value = message.key(), message.value()
                if value is not None and key in (OWNER_KEY, POSITION_KEY):
                    compactor = str(codec("Position").decode(value)["node_id"])
                    if key == OWNER_KEY:
                        self._owned.setdefault(compactor, set()).add(partition)
                    else:
                        self._commits.setdefault(compactor, []).append(time.monotonic())
        return start
