"""A local cluster's data directory: what is in it, and whether it can be used.

::

    kafka-1/
      cluster.json       which Kafka made it, its cluster id, its nodes and ports
      running.json       the processes, while there are any
      node-1/            a broker's data
      node-1.properties  its settings, written anew at each start
      node-1.log         what it had to say since its last start

Formatting takes Kafka's own tool over a second, so a directory is laid out by hand: two small files
a node, of which ``bootstrap.checkpoint`` (feature levels, nothing of one cluster) ships with the
package as the tool wrote it; a test compares them.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from headwater.errors import LocalKafkaError
from headwater.local.jars import VERSION
from headwater.local.process import Identity
from headwater.local.settings import Node, render, server_properties

_FORMAT = 1
_CLUSTER = "cluster.json"
_RUNNING = "running.json"
#: Kafka reserves index files and segments; below this it would fail midway, with its data open.
_NEEDED_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What a data directory is, which no start changes, except for ports."""

    cluster_id: str
    nodes: tuple[Node, ...]
    kafka: str = VERSION


def make_directory(path: Path) -> None:
    """Makes the directory, or raises :class:`LocalKafkaError`: no permission, a full disk."""
    if path.exists() and not path.is_dir():
        raise LocalKafkaError(f"the data directory {path} is not a directory; give another one")
    try:
        path.mkdir(parents=True, exist_ok=True)
        _check_writable(path)
    except OSError as error:
        raise LocalKafkaError(f"the data directory {path} cannot be used: {error}") from error


def open_directory(path: Path, brokers: int) -> Cluster | None:
    """The cluster whose data this directory holds; None when it is empty.

    Raises :class:`LocalKafkaError` when the directory was not made by Headwater, or for another
    number of brokers, or by a newer Kafka.
    """
    found = read_cluster(path)
    if found is None:
        if foreign := sorted(child.name for child in path.iterdir() if _is_foreign(child)):
            raise LocalKafkaError(
                f"{path} holds something else ({foreign[0]}); give an empty directory, "
                "or one that a local Kafka was started in before"
            )
        return None
    if len(found.nodes) != brokers:
        raise LocalKafkaError(
            f"{path} is the data of a cluster of {_count(len(found.nodes))}, and cannot become one "
            f"of {_count(brokers)}; use another --data-dir, or remove this one"
        )
    if _numbers(found.kafka) > _numbers(VERSION):
        raise LocalKafkaError(
            f"{path} was last used by Kafka {found.kafka}, newer than this one, {VERSION}, which "
            "cannot read it; upgrade Headwater, or use another --data-dir"
        )
    return found


def _check_writable(path: Path) -> None:
    probe = path / f".probe-{os.getpid()}"
    probe.write_bytes(b"x")
    probe.unlink()
    free = shutil.disk_usage(path).free
    if free < _NEEDED_BYTES:
        raise OSError(
            f"only {free >> 20} MB are free on its disk, {_NEEDED_BYTES >> 20} are needed"
        )


def _is_foreign(child: Path) -> bool:
    return not child.name.startswith(("node-", ".", _CLUSTER, _RUNNING))


def _count(brokers: int) -> str:
    return "1 broker" if brokers == 1 else f"{brokers} brokers"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def read_cluster(path: Path) -> Cluster | None:
    """The cluster that this directory belongs to; None when it belongs to none."""
    data = _read_json(path / _CLUSTER)
    if data is None:
        return None
    try:
        if data["format"] != _FORMAT:
            raise LocalKafkaError(
                f"{path} is laid out as another version of Headwater does it (format "
                f"{data['format']}, here {_FORMAT}); use another --data-dir"
            )
        nodes = tuple(Node(**node) for node in data["nodes"])
        return Cluster(kafka=data["kafka"], cluster_id=data["cluster_id"], nodes=nodes)
    except (KeyError, TypeError) as error:
        raise LocalKafkaError(f"{path / _CLUSTER} is damaged; use another --data-dir") from error


def write_cluster(path: Path, cluster: Cluster, extra: Mapping[str, str]) -> list[Path]:
    """Writes down the cluster and lays out what its nodes lack; the paths of their settings."""
    _write_json(path / _CLUSTER, {"format": _FORMAT, **asdict(cluster)})
    return [
        write_node(path, node, cluster.nodes, cluster_id=cluster.cluster_id, extra=extra)
        for node in cluster.nodes
    ]


def write_node(
    path: Path, node: Node, nodes: Sequence[Node], *, cluster_id: str, extra: Mapping[str, str]
) -> Path:
    """Formats one node's directory where that is still to do; the path of its settings."""
    home = (path / f"node-{node.id}").absolute()
    if "," in str(home):
        raise LocalKafkaError(f"Kafka cannot have a comma in a data directory's name: {home}")
    home.mkdir(exist_ok=True)
    if not (home / "meta.properties").exists():
        checkpoint = files("headwater.local").joinpath("bootstrap.checkpoint").read_bytes()
        (home / "bootstrap.checkpoint").write_bytes(checkpoint)
        meta = {
            "version": "1",
            "cluster.id": cluster_id,
            "node.id": str(node.id),
            "directory.id": new_id(),
        }
        _write_text(home / "meta.properties", render(meta))  # last: it says that all is there
    settings = path / f"node-{node.id}.properties"
    _write_text(settings, render(server_properties(node, nodes, str(home), extra)))
    return settings


def new_id() -> str:
    """A random id as Kafka writes them: 22 characters, and none of its tools takes a leading -."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def log_path(path: Path, node: int) -> Path:
    """Where a node's output goes."""
    return path / f"node-{node}.log"


def read_running(path: Path) -> dict[int, Identity]:
    """The processes noted down for this directory, by node; they need not be alive any more."""
    data = _read_json(path / _RUNNING) or {}
    return {
        int(node): Identity(pid=entry["pid"], began=entry["began"])
        for node, entry in data.get("processes", {}).items()
    }


def write_running(path: Path, processes: Mapping[int, Identity]) -> None:
    """Notes down the processes; none removes the note."""
    if not processes:
        (path / _RUNNING).unlink(missing_ok=True)
        return
    entries = {str(node): asdict(identity) for node, identity in processes.items()}
    _write_json(path / _RUNNING, {"processes": entries})


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise LocalKafkaError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise LocalKafkaError(f"{path} is damaged")
    return data


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    _write_text(path, json.dumps(data, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
