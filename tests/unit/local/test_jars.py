"""Getting Kafka's jars: the lock, damage, no network, no jgo."""

from __future__ import annotations

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headwater.errors import LocalKafkaError
from headwater.local import jars
from headwater.local.jars import Jar, check_jar, ensure_kafka, find_kafka, locked_jars, parse_lock


class FakeMaven:
    """A repository of small files; ``fail`` raises instead of answering."""

    def __init__(
        self, repository: Path, contents: dict[str, bytes], fail: Exception | None
    ) -> None:
        self.repository = repository
        self.contents = contents
        self.fail = fail
        self.asked = 0

    def project(self, group: str, artifact: str) -> Any:
        """A project as jgo has it."""

        def at_version(version: str) -> Any:
            path = self.repository / f"{artifact}-{version}.jar"

            def resolve() -> Path:
                self.asked += 1
                if self.fail:
                    raise self.fail
                self.repository.mkdir(exist_ok=True)
                path.write_bytes(self.contents[path.name])
                return path

            return SimpleNamespace(
                artifact=lambda: SimpleNamespace(resolve=resolve, cached_path=path)
            )

        return SimpleNamespace(at_version=at_version)


@pytest.fixture
def small_kafka(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """A lock of two small jars, and an empty cache."""
    contents = {"a-1.jar": b"first", "b-2.jar": b"second!"}
    lock = "# a comment\n" + "".join(
        f"{hashlib.sha256(data).hexdigest()} {len(data):>8} g:{name[0]}:{name[2]}\n"
        for name, data in contents.items()
    )
    monkeypatch.setattr(jars, "_lock_text", lambda: lock)
    monkeypatch.setattr(jars, "locked_jars", lambda: parse_lock(lock))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return contents


def use(
    monkeypatch: pytest.MonkeyPatch, contents: dict[str, bytes], fail: Exception | None = None
) -> list[FakeMaven]:
    """Replaces Maven Central; the repositories opened are added to the list."""
    made: list[FakeMaven] = []

    def maven(repository: Path) -> FakeMaven:
        made.append(FakeMaven(repository, contents, fail))
        return made[-1]

    monkeypatch.setattr(jars, "_maven", maven)
    return made


def test_the_shipped_lock_is_whole() -> None:
    """46 jars in class-path order, each with a SHA-256; Kafka itself among them."""
    lock = locked_jars()
    assert len(lock) == 46
    assert [jar.name for jar in lock] == sorted(jar.name for jar in lock)
    assert all(len(jar.sha256) == 64 for jar in lock)
    assert f"kafka_2.13-{jars.VERSION}.jar" in {jar.name for jar in lock}


def test_a_download_is_kept(
    small_kafka: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The second time nothing is asked of the network, and nothing is said."""
    use(monkeypatch, small_kafka)
    found = ensure_kafka()
    assert [path.read_bytes() for path in found.jars] == list(small_kafka.values())
    assert "Downloading Apache Kafka" in capfd.readouterr().err
    again = use(monkeypatch, small_kafka)
    assert ensure_kafka() == found
    assert not again
    assert capfd.readouterr().err == ""


def test_a_wrong_jar_is_refused(
    small_kafka: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is not the locked one never gets into the cache."""
    use(monkeypatch, {**small_kafka, "b-2.jar": b"tampered"})
    with pytest.raises(LocalKafkaError, match="g:b:2 is not the file that was locked: SHA-256"):
        ensure_kafka()
    assert find_kafka() is None


def test_no_network_says_so_and_is_tried_again(
    small_kafka: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cold cache without a network is a clear message, after a few tries."""
    made = use(monkeypatch, small_kafka, ConnectionError("no route"))
    with pytest.raises(LocalKafkaError, match="could not be downloaded from Maven Central: no rou"):
        ensure_kafka()
    assert max(maven.asked for maven in made) == 3


def test_an_incomplete_cache_is_made_whole(
    small_kafka: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing or shortened jar, with which Kafka would run half broken, is fetched again."""
    use(monkeypatch, small_kafka)
    first = ensure_kafka()
    first.jars[0].unlink()
    first.jars[1].write_bytes(b"short")
    assert find_kafka() is None
    assert [path.read_bytes() for path in ensure_kafka().jars] == list(small_kafka.values())


def test_two_first_users_download_once(
    small_kafka: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second waits, and finds the jars there."""
    made = use(monkeypatch, small_kafka)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: ensure_kafka(), range(4)))
    assert len(set(found)) == 1
    assert sum(maven.asked for maven in made) == len(small_kafka)


def test_without_jgo_it_says_what_to_install(
    small_kafka: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The light installation names the extra that is missing."""
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(LocalKafkaError, match=r"needs jgo; .*headwater\[local\]"):
        ensure_kafka()


def test_a_cache_that_cannot_be_written_is_named(
    small_kafka: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file where the cache should be is a message, not a traceback."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(LocalKafkaError, match=r"the cache .* cannot be written"):
        ensure_kafka()


def test_the_right_jar_passes(tmp_path: Path) -> None:
    """A file with the locked hash is accepted."""
    path = tmp_path / "x.jar"
    path.write_bytes(b"x")
    check_jar(Jar(sha256=hashlib.sha256(b"x").hexdigest(), size_bytes=1, coordinate="g:x:1"), path)
