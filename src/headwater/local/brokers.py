"""The processes of one local cluster: started, watched until they answer, signalled, ended."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from headwater.errors import LocalKafkaError
from headwater.local import layout
from headwater.local.archive import broker_command, broker_environment, ensure_archive
from headwater.local.diagnose import diagnose, read_tail
from headwater.local.jars import Distribution, ensure_kafka
from headwater.local.java import Java, find_java
from headwater.local.layout import Cluster
from headwater.local.probe import live_brokers, warm_up
from headwater.local.process import Child, Identity, spawn

_POLL_S = 0.01
#: Kafka writes this file last when it has closed a data directory, and removes it on opening.
_CLOSED_MARK = ".kafka_cleanshutdown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What brokers run on."""

    java: Java
    kafka: Distribution
    archive: Path | None


def prepare() -> Runtime:
    """Finds Java and fetches all that a start needs; at once when that was done before.

    The first time it downloads 45 MB and trains a class archive, about 20 s, and says so on
    stderr. Raises :class:`LocalKafkaError` when something cannot be had, and says what to do.
    """
    java = find_java()
    kafka = ensure_kafka()
    return Runtime(java=java, kafka=kafka, archive=ensure_archive(java, kafka))


class PortTaken(LocalKafkaError):
    """Somebody else was quicker to bind a port; another one may do."""


class Brokers:
    """The processes of the cluster in ``directory``, ours or found there.

    ``group`` is the process group that they join; None lets them outlive this process.
    """

    def __init__(self, directory: Path, cluster: Cluster, *, keeps_logs: bool) -> None:
        self.directory = directory
        self.cluster = cluster
        self._keeps_logs = keeps_logs
        self._children: dict[int, Child] = {}
        self.processes: dict[int, Identity] = {}

    def adopt(self, processes: dict[int, Identity]) -> None:
        """Takes over processes that another one started."""
        self.processes = dict(processes)

    def launch(
        self, node: int, runtime: Runtime, *, heap_mb: int, group: int | None, fresh_log: bool
    ) -> None:
        """Starts one broker's process, without waiting for it."""
        log = layout.log_path(self.directory, node)
        if fresh_log:
            log.unlink(missing_ok=True)
        command = broker_command(
            runtime.java,
            runtime.kafka,
            self.directory.absolute() / f"node-{node}.properties",
            heap_mb=heap_mb,
            archive=runtime.archive,
        )
        try:
            child = spawn(command, log, environment=broker_environment(), group=group)
        except OSError as error:
            raise LocalKafkaError(f"{runtime.java.path} cannot be run: {error}") from error
        self._children[node] = child
        self.processes[node] = child.identity
        layout.write_running(self.directory, self.processes)

    def await_ready(self, nodes: Iterable[int], everyone: frozenset[int], timeout_s: float) -> None:
        """Waits until each of these nodes sees all of ``everyone`` alive."""
        deadline = time.monotonic() + timeout_s
        places = {node.id: (node.port, node.host) for node in self.cluster.nodes}
        waiting = wanted = list(nodes)
        while waiting:
            for node in waiting:
                self._check_started(node)
            waiting = [node for node in waiting if not everyone <= live_brokers(*places[node])]
            if waiting and time.monotonic() > deadline:
                raise LocalKafkaError(
                    self._report(waiting[0], f"did not answer within {timeout_s:.0f} s", None)
                )
            if waiting:
                time.sleep(_POLL_S)
        for node in wanted:
            warm_up(*places[node])

    def _check_started(self, node: int) -> None:
        child = self._children.get(node)
        if child is not None and child.exit_status is None:
            return
        if child is None and self.processes[node].alive:
            return
        raise self._failure(node, child.exit_status if child else None)

    def _failure(self, node: int, exit_status: int | None) -> LocalKafkaError:
        log = read_tail(layout.log_path(self.directory, node))
        message = self._report(node, "ended while it started", exit_status)
        return (PortTaken if diagnose(log, exit_status).port_taken else LocalKafkaError)(message)

    def _report(self, node: int, what: str, exit_status: int | None) -> str:
        path = layout.log_path(self.directory, node)
        diagnosis = diagnose(read_tail(path), exit_status)
        parts = [f"Kafka's broker {node} {what}: {diagnosis.reason}"]
        parts += [f"  {line}" for line in diagnosis.lines]
        if self._keeps_logs:
            parts.append(f"  (log: {path})")
        return "\n".join(parts)

    def end(self, nodes: Iterable[int], *, orderly_s: float = 0.0) -> None:
        """Ends these brokers: with SIGTERM and this much time to finish, then with SIGKILL."""
        identities = [self.processes[node] for node in nodes if node in self.processes]
        if orderly_s:
            for identity in identities:
                identity.signal(signal.SIGTERM)
                identity.signal(signal.SIGCONT)  # a stopped process takes no other signal
            self._await_closed(nodes, orderly_s)
        for identity in identities:
            identity.signal(signal.SIGKILL)
        for identity in identities:
            identity.wait_gone(10.0)
        self._reap()

    def _await_closed(self, nodes: Iterable[int], timeout_s: float) -> None:
        """Waits until the brokers are gone, or have closed their data and marked it so.

        A cluster's last controllers would go on for 5 s, waiting for a quorum that is not coming
        back. Their own log needs no closing: each append to it is synced.
        """
        deadline = time.monotonic() + timeout_s
        open_nodes = [node for node in nodes if node in self.processes]
        while open_nodes and time.monotonic() < deadline:
            open_nodes = [
                node
                for node in open_nodes
                if self.processes[node].alive
                and not (self.directory / f"node-{node}" / _CLOSED_MARK).exists()
            ]
            time.sleep(_POLL_S)

    def _reap(self) -> None:
        for node, child in list(self._children.items()):
            if child.exit_status is not None:
                del self._children[node]
        self.processes = {
            node: identity for node, identity in self.processes.items() if identity.alive
        }
        layout.write_running(self.directory, self.processes)

    def disown(self) -> None:
        """Lets the brokers go on when this process ends."""
        for child in self._children.values():
            child.disown()
