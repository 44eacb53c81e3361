"""Every way for a local Kafka not to start that is within reach, on real brokers."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from headwater.errors import LocalKafkaError
from headwater.local import LocalKafka, cluster, layout, prepare
from headwater.local.ports import choose_nodes
from headwater.local.process import Identity
from headwater.local.settings import Node

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about the local one, whatever else is configured."""
    monkeypatch.delenv("HEADWATER_BOOTSTRAP_SERVERS", raising=False)


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """No test pays for the first download."""
    prepare()


def test_a_taken_port_is_named() -> None:
    """A port that was asked for and is taken is an error that names it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LocalKafkaError, match=rf"port {port} .* is in use .*--port"):
            LocalKafka(port=port).start()


def test_losing_the_race_for_a_port_means_another_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is taken between the look and the bind is replaced, and the start goes on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        asked = []

        def choose(count: int, **options: object) -> tuple[Node, ...]:
            nodes = choose_nodes(count)
            asked.append(nodes)
            stolen = Node(id=1, port=taken, controller_port=nodes[0].controller_port)
            return (stolen,) if len(asked) == 1 else nodes

        monkeypatch.setattr(cluster, "choose_nodes", choose)
        with LocalKafka() as kafka:
            assert len(asked) == 2
            assert str(taken) not in kafka.bootstrap_servers


def test_a_second_start_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """The message says who is there and how to stop it."""
    with LocalKafka(data_dir=tmp_path / "k") as kafka:
        with pytest.raises(LocalKafkaError, match=rf"already .*process {kafka.pid(1)}.* stop"):
            LocalKafka(data_dir=tmp_path / "k").start()
        assert kafka.status.running


def test_data_locked_by_an_unknown_kafka_is_refused(tmp_path: Path) -> None:
    """Kafka's own lock is understood where our note is missing."""
    with LocalKafka(data_dir=tmp_path / "k"):
        layout.write_running(tmp_path / "k", {})
        with pytest.raises(LocalKafkaError, match="another Kafka is running on its data directory"):
            LocalKafka(data_dir=tmp_path / "k").start()


def test_a_rejected_property_shows_the_brokers_words(tmp_path: Path) -> None:
    """The message holds the telling lines of the log, and where to read the rest."""
    with pytest.raises(LocalKafkaError) as caught:
        LocalKafka(data_dir=tmp_path / "k", properties={"num.io.threads": "many"}).start()
    message = str(caught.value)
    assert "a property was not accepted" in message
    assert "Invalid value many for configuration num.io.threads" in message
    assert str(tmp_path / "k" / "node-1.log") in message


def test_another_clusters_data_is_refused(tmp_path: Path) -> None:
    """A node directory that was swapped is understood."""
    with LocalKafka(data_dir=tmp_path / "k"):
        pass
    meta = tmp_path / "k" / "node-1" / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=7"))
    with pytest.raises(LocalKafkaError, match="belongs to another cluster"):
        LocalKafka(data_dir=tmp_path / "k").start()


def test_a_data_directory_that_is_in_the_way_is_refused(tmp_path: Path) -> None:
    """A file where a broker's directory should be is a message."""
    (tmp_path / "node-1").write_text("")
    with pytest.raises(LocalKafkaError, match=r"cannot be laid out: .*node-1"):
        LocalKafka(data_dir=tmp_path).start()


def test_a_heap_that_java_cannot_have_is_named() -> None:
    """Java's own refusal is understood."""
    with pytest.raises(LocalKafkaError, match="cannot have a heap of that size"):
        LocalKafka(heap_mb=8).start()


def test_a_start_that_takes_too_long_is_ended() -> None:
    """After the timeout nothing is left running."""
    kafka = LocalKafka(timeout=timedelta(milliseconds=50))
    with pytest.raises(LocalKafkaError, match="did not answer within"):
        kafka.start()
    assert not kafka.status.running
    assert not kafka.status.data_dir.exists()


def test_a_reused_process_id_is_not_taken_for_a_broker(tmp_path: Path) -> None:
    """A note that survived a crash neither blocks a start nor gets a stranger killed."""
    directory = tmp_path / "k"
    with LocalKafka(data_dir=directory):
        pass
    layout.write_running(directory, {1: Identity(pid=os.getpid(), began="long ago")})
    assert LocalKafka.find(directory) is None
    with LocalKafka(data_dir=directory) as kafka:
        assert kafka.status.running
