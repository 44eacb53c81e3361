"""A real Apache Kafka on this machine, from Python."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from headwater.errors import LocalKafkaError
from headwater.local import layout
from headwater.local.brokers import Brokers, PortTaken, Runtime, prepare
from headwater.local.lock import file_lock
from headwater.local.ports import choose_nodes, require_free
from headwater.local.process import Identity, Watchdog
from headwater.local.settings import LOOPBACK, SIZES

logger = logging.getLogger(__name__)

_DEFAULT_HEAP_MB = 512
_ORDERLY_S = 10.0
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One broker; ``pid`` is None when it does not run."""

    id: int
    port: int
    pid: int | None
    log: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A local cluster as it is now; ``running`` when every broker's process is there."""

    running: bool
    bootstrap_servers: str
    kafka: str
    data_dir: Path
    nodes: tuple[NodeStatus, ...]


class LocalKafka:
    """One or three brokers of Apache Kafka on this machine.

    As a context manager it starts and stops them::

        with LocalKafka() as kafka:
            print(kafka.bootstrap_servers)  # 127.0.0.1:23456

    Without ``data_dir`` the data is temporary and goes with the brokers. With one it stays, and the
    next start in that directory finds it, on the same ports unless somebody has taken them. The
    brokers end when this process does, even by SIGKILL, unless ``detached`` lets them outlive it
    (``data_dir`` is then required); :meth:`find` gets hold of them again. One broker acknowledges
    from the page cache and has no replica: it survives its own death, not the machine's.

    Nodes are numbered from 1. ``port`` asks for the first broker's port, the others follow it.
    ``properties`` are broker settings that win over those of :mod:`headwater.local.settings`.
    ``heap_mb`` is each broker's heap in MB (``HEADWATER_KAFKA_HEAP_MB``, or 512). They listen on
    the loopback interface alone, unless ``host`` is another address of this machine. Brokers that
    clients reach through something else, a proxy say, have ``advertised``: for each, host:port.

    Raises :class:`LocalKafkaError`, with what to do about it, whenever the brokers cannot start.
    Linux and macOS.
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        data_dir: Path | str | None = None,
        detached: bool = False,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        heap_mb: int | None = None,
        host: str = LOOPBACK,
        advertised: Sequence[str] = (),
        timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        if brokers not in SIZES:
            raise LocalKafkaError(f"a local Kafka has 1 or 3 brokers, not {brokers}")
        if detached and data_dir is None:
            raise LocalKafkaError("a detached Kafka needs a data_dir, or nobody would find it")
        self._size = brokers
        self._data_dir = Path(data_dir) if data_dir is not None else None
        self._detached = detached
        self._port = port
        self._properties = dict(properties or {})
        self._heap_mb = heap_mb or _configured_heap_mb()
        self._host = host
        self._advertised = tuple(advertised) or ("",) * brokers
        self._timeout_s = timeout.total_seconds()
        self._brokers: Brokers | None = None
        self._watchdog: Watchdog | None = None
        self._runtime: Runtime | None = None
        self._announced = False
        self._owner = os.getpid()

    @classmethod
    def find(cls, data_dir: Path | str) -> LocalKafka | None:
        """The cluster whose brokers run on this data directory; None when none does."""
        directory = Path(data_dir)
        cluster = layout.read_cluster(directory)
        if cluster is None:
            return None
        processes = {
            node: identity
            for node, identity in layout.read_running(directory).items()
            if identity.alive
        }
        if not processes:
            return None
        kafka = cls(len(cluster.nodes), data_dir=directory, detached=True)
        kafka._brokers = Brokers(directory, cluster, keeps_logs=True)
        kafka._brokers.adopt(processes)
        return kafka

    # -- life

    def start(self) -> Self:
        """Starts the brokers and returns when each answers and sees all the others."""
        if self._brokers is not None and self._brokers.processes:
            raise LocalKafkaError("this local Kafka is running already")
        if sys.platform == "win32":
            raise LocalKafkaError(
                "a local Kafka runs on Linux and macOS; set HEADWATER_BOOTSTRAP_SERVERS to use "
                "one that runs elsewhere"
            )
        self._runtime = prepare()
        directory = self._directory()
        layout.make_directory(directory)
        with self._locked(directory):
            _refuse_second(directory)
            try:
                self._start(directory)
            except BaseException:
                self._end(directory, orderly=False)
                raise
        return self

    def stop(self) -> None:
        """Stops the brokers: in order where their data stays, at once where it does not."""
        if os.getpid() != self._owner:
            return  # a forked child: they are not its own
        if self._brokers is None:
            return
        directory = self._brokers.directory
        if not directory.exists():
            return  # temporary, and stopped before
        with self._locked(directory):
            self._end(directory, orderly=self._data_dir is not None)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- what it is

    @property
    def bootstrap_servers(self) -> str:
        """All brokers, as ``host:port,host:port``."""
        return ",".join(node.address for node in self._started().cluster.nodes)

    @property
    def nodes(self) -> tuple[int, ...]:
        """The brokers' ids."""
        return tuple(range(1, self._size + 1))

    @property
    def status(self) -> Status:
        """What runs, and where."""
        brokers = self._started()
        nodes = tuple(
            NodeStatus(
                id=node.id,
                port=node.port,
                pid=self._live_pid(node.id),
                log=layout.log_path(brokers.directory, node.id),
            )
            for node in brokers.cluster.nodes
        )
        return Status(
            running=all(node.pid is not None for node in nodes),
            bootstrap_servers=self.bootstrap_servers,
            kafka=brokers.cluster.kafka,
            data_dir=brokers.directory,
            nodes=nodes,
        )

    def pid(self, node: int) -> int:
        """A broker's process id; :class:`LocalKafkaError` when it does not run."""
        return self._identity(node).pid

    # -- faults, for tests

    def kill(self, node: int) -> None:
        """Kills one broker (SIGKILL) and returns when it is gone."""
        self._identity(node)
        self._started().end([node])

    def pause(self, node: int) -> None:
        """Freezes one broker (SIGSTOP): its connections stay open and nothing answers."""
        self._identity(node).signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Lets a paused broker go on (SIGCONT)."""
        self._identity(node).signal(signal.SIGCONT)

    def start_node(self, node: int) -> None:
        """Starts one broker that was killed, on its old port, and waits until it is back."""
        brokers = self._started()
        if self._live_pid(node) is not None:
            raise LocalKafkaError(f"broker {node} is running already")
        wanted = next((each for each in brokers.cluster.nodes if each.id == node), None)
        if wanted is None:
            raise LocalKafkaError(f"there is no broker {node}, only {self.nodes}")
        require_free([wanted.port, wanted.controller_port], wanted.host)
        self._launch(node, fresh_log=False)
        brokers.await_ready([node], frozenset([node]), self._timeout_s)
        if self._detached:
            brokers.disown()

    # -- inside

    def _directory(self) -> Path:
        if self._brokers is not None and self._brokers.directory.exists():
            return self._brokers.directory
        if self._data_dir is not None:
            return self._data_dir
        return Path(tempfile.mkdtemp(prefix="headwater-kafka-"))

    def _locked(self, directory: Path) -> AbstractContextManager[None]:
        return file_lock(
            directory / ".lock", what=f"the Kafka in {directory}", timeout_s=self._timeout_s
        )

    def _start(self, directory: Path) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            self._lay_out(directory)
            if not self._detached and self._watchdog is None:
                self._watchdog = Watchdog(None if self._data_dir else directory)
            try:
                for node in self.nodes:
                    self._launch(node, fresh_log=True)
                self._started().await_ready(self.nodes, frozenset(self.nodes), self._timeout_s)
            except PortTaken:
                # Somebody bound it between our look and the broker's; choose_nodes looks again.
                self._started().end(self.nodes)
                if attempt == _ATTEMPTS:
                    raise
            else:
                break
        self._announced = True
        if self._detached:
            self._started().disown()

    def _lay_out(self, directory: Path) -> None:
        known = layout.open_directory(directory, self._size)
        nodes = choose_nodes(
            self._size,
            known=known.nodes if known else (),
            first=self._port,
            keep=self._announced,
            favourite=self._detached,
            host=self._host,
        )
        nodes = tuple(
            replace(node, advertised=address)
            for node, address in zip(nodes, self._advertised, strict=True)
        )
        if known and [node.port for node in nodes] != [node.port for node in known.nodes]:
            logger.warning(
                "kafka_ports_changed",
                extra={"before": known.nodes[0].port, "now": nodes[0].port},
            )
        cluster = layout.Cluster(
            cluster_id=known.cluster_id if known else layout.new_id(), nodes=nodes
        )
        try:
            layout.write_cluster(directory, cluster, self._properties)
        except OSError as error:
            raise LocalKafkaError(f"{directory} cannot be laid out: {error}") from error
        self._brokers = Brokers(directory, cluster, keeps_logs=self._data_dir is not None)

    def _launch(self, node: int, *, fresh_log: bool) -> None:
        self._runtime = self._runtime or prepare()
        self._started().launch(
            node,
            self._runtime,
            heap_mb=self._heap_mb,
            group=self._watchdog.group if self._watchdog else None,
            fresh_log=fresh_log,
        )

    def _end(self, directory: Path, *, orderly: bool) -> None:
        if self._brokers is not None:
            self._brokers.end(self.nodes, orderly_s=_ORDERLY_S if orderly else 0.0)
        if self._data_dir is None:
            shutil.rmtree(directory, ignore_errors=True)
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.release()

    def _started(self) -> Brokers:
        if self._brokers is None:
            raise LocalKafkaError("this local Kafka has not been started")
        return self._brokers

    def _identity(self, node: int) -> Identity:
        identity = self._started().processes.get(node)
        if identity is None or not identity.alive:
            raise LocalKafkaError(f"broker {node} does not run")
        return identity

    def _live_pid(self, node: int) -> int | None:
        identity = self._started().processes.get(node)
        return identity.pid if identity is not None and identity.alive else None


def _refuse_second(directory: Path) -> None:
    running = LocalKafka.find(directory)
    if running is not None:
        pids = ", ".join(str(each.pid) for each in running.status.nodes if each.pid)
        raise LocalKafkaError(
            f"a Kafka is running on {directory} already ({running.bootstrap_servers}, process "
            f"{pids}); stop it first (headwater kafka stop), or use another --data-dir"
        )


def _configured_heap_mb() -> int:
    text = os.environ.get("HEADWATER_KAFKA_HEAP_MB") or str(_DEFAULT_HEAP_MB)
    if not text.isdigit():
        raise LocalKafkaError(f"HEADWATER_KAFKA_HEAP_MB must be a number of MB, not {text!r}")
    return int(text)
