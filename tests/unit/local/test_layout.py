"""Data directories: made, found again, refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headwater.errors import LocalKafkaError
from headwater.local import layout
from headwater.local.jars import VERSION
from headwater.local.layout import Cluster, open_directory, read_cluster, write_cluster
from headwater.local.process import Identity, began_at
from headwater.local.settings import Node

NODE = Node(id=1, port=9092, controller_port=9093)


def cluster(kafka: str = VERSION) -> Cluster:
    """A cluster of one."""
    return Cluster(cluster_id=layout.new_id(), nodes=(NODE,), kafka=kafka)


def test_a_new_directory_is_formatted(tmp_path: Path) -> None:
    """Both files that Kafka's own tool would write are there, and the settings."""
    made = cluster()
    (settings,) = write_cluster(tmp_path, made, {})
    meta = (tmp_path / "node-1" / "meta.properties").read_text()
    assert f"cluster.id={made.cluster_id}" in meta
    assert (tmp_path / "node-1" / "bootstrap.checkpoint").stat().st_size > 0
    assert "node.id=1" in settings.read_text()


def test_a_second_start_formats_nothing(tmp_path: Path) -> None:
    """A node's identity is written once."""
    made = cluster()
    write_cluster(tmp_path, made, {})
    before = (tmp_path / "node-1" / "meta.properties").read_bytes()
    write_cluster(tmp_path, made, {"num.io.threads": "3"})
    assert (tmp_path / "node-1" / "meta.properties").read_bytes() == before
    assert "num.io.threads=3" in (tmp_path / "node-1.properties").read_text()


def test_what_was_written_is_found(tmp_path: Path) -> None:
    """The cluster of a directory survives the process that made it."""
    made = cluster()
    write_cluster(tmp_path, made, {})
    assert open_directory(tmp_path, 1) == made


def test_an_empty_directory_has_no_cluster(tmp_path: Path) -> None:
    """Nothing there is None, also where the directory itself is missing."""
    assert open_directory(tmp_path, 1) is None
    assert read_cluster(tmp_path / "missing") is None


def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    """Nothing is written among files that are not ours."""
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(LocalKafkaError, match=r"holds something else \(thesis\.tex\)"):
        open_directory(tmp_path, 1)


def test_another_size_is_refused(tmp_path: Path) -> None:
    """A cluster's brokers cannot be multiplied."""
    write_cluster(tmp_path, cluster(), {})
    with pytest.raises(LocalKafkaError, match=r"cluster of 1 broker, .* of 3 brokers"):
        open_directory(tmp_path, 3)


def test_a_newer_kafkas_data_is_refused(tmp_path: Path) -> None:
    """Kafka reads older data, never newer."""
    write_cluster(tmp_path, cluster(kafka="4.10.0"), {})
    with pytest.raises(LocalKafkaError, match=r"last used by Kafka 4\.10\.0, newer than"):
        open_directory(tmp_path, 1)


def test_an_older_kafkas_data_is_taken(tmp_path: Path) -> None:
    """An upgrade keeps the data."""
    write_cluster(tmp_path, cluster(kafka="4.2.0"), {})
    assert open_directory(tmp_path, 1) is not None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 99}', '{"format": 1, "nodes": 3}'])
def test_a_damaged_note_is_a_message(tmp_path: Path, text: str) -> None:
    """Whatever stands in cluster.json, the error is ours and names the place."""
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(LocalKafkaError, match=str(tmp_path)):
        open_directory(tmp_path, 1)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    """A data directory that is a file is named as such."""
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(LocalKafkaError, match="is not a directory"):
        layout.make_directory(path)


def test_an_impossible_directory_is_a_message() -> None:
    """A place where nothing can be made is named, with the system's reason."""
    with pytest.raises(LocalKafkaError, match="data directory /dev/null/x cannot be used"):
        layout.make_directory(Path("/dev/null/x"))


def test_a_full_disk_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka is not started where it would run out of space at once."""
    monkeypatch.setattr(layout, "_NEEDED_BYTES", 1 << 62)
    with pytest.raises(LocalKafkaError, match="MB are free on its disk"):
        layout.make_directory(tmp_path)


def test_a_comma_in_the_name_is_refused(tmp_path: Path) -> None:
    """Kafka would take the name for two directories."""
    path = tmp_path / "a,b"
    path.mkdir()
    with pytest.raises(LocalKafkaError, match="comma"):
        write_cluster(path, cluster(), {})


def test_ids_never_begin_with_a_hyphen() -> None:
    """Kafka's own tools take a leading hyphen for an option."""
    ids = [layout.new_id() for _ in range(500)]
    assert all(len(text) == 22 and not text.startswith("-") for text in ids)


def test_running_processes_are_noted_and_forgotten(tmp_path: Path) -> None:
    """The note goes with the last process."""
    ours = Identity(pid=os.getpid(), began=began_at(os.getpid()) or "")
    layout.write_running(tmp_path, {1: ours})
    assert layout.read_running(tmp_path) == {1: ours}
    layout.write_running(tmp_path, {})
    assert layout.read_running(tmp_path) == {}
