"""Kafka's jars: downloaded once with jgo, checked against the lock, kept in the user's cache.

``kafka.lock`` pins every jar by SHA-256. It comes from resolving the one coordinate of Kafka (a
second root coordinate made the resolver pick an old kafka-clients), plus one jar on its own:
slf4j-simple, without which a broker that cannot start dies in silence. Downloading goes by the
lock, jar by jar, so the dependency tree is resolved when the lock is made and never again.

``python -m headwater.local.jars`` prints a new lock, for whoever changes the version.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from headwater.errors import LocalKafkaError
from headwater.local.java import INSTALL_HINT
from headwater.local.lock import file_lock
from headwater.local.paths import cache_dir
from headwater.local.progress import Progress

VERSION = "4.3.1"
_ROOT = f"org.apache.kafka:kafka_2.13:{VERSION}"
_LOGGER = "org.slf4j:slf4j-simple:1.7.36"
_ATTEMPTS = 3
_CONNECTIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    """One line of the lock."""

    sha256: str
    size_bytes: int
    coordinate: str

    @property
    def name(self) -> str:
        """The file's name, as Maven forms it."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Kafka on disk: a directory in the cache and the class path inside it, in the lock's order."""

    root: Path
    jars: tuple[Path, ...]

    @property
    def classpath(self) -> str:
        """The jars as ``java -cp`` takes them."""
        return ":".join(str(jar) for jar in self.jars)


@cache
def locked_jars() -> tuple[Jar, ...]:
    """The lock that ships with the package."""
    return parse_lock(_lock_text())


def _lock_text() -> str:
    return files("headwater.local").joinpath("kafka.lock").read_text(encoding="utf-8")


def parse_lock(text: str) -> tuple[Jar, ...]:
    """Jars of a lock file's text; a line that begins with ``#`` is a comment."""
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return tuple(Jar(sha256=row[0], size_bytes=int(row[1]), coordinate=row[2]) for row in rows)


def find_kafka() -> Distribution | None:
    """Kafka as the cache has it, or None when it is not there or not whole.

    Only sizes are compared here: hashes were when the jars came in, and 45 MB of SHA-256 would be
    paid at each start.
    """
    root = cache_dir() / f"kafka-{VERSION}-{hashlib.sha256(_lock_text().encode()).hexdigest()[:8]}"
    jars = tuple(root / "jars" / jar.name for jar in locked_jars())
    try:
        # An incomplete set does not fail: replication, say, silently stops working.
        whole = all(
            path.stat().st_size == jar.size_bytes
            for path, jar in zip(jars, locked_jars(), strict=True)
        )
    except OSError:
        return None
    return Distribution(root=root, jars=jars) if whole else None


def ensure_kafka() -> Distribution:
    """Kafka from the cache, downloaded first where it is not there yet (45 MB, progress on stderr).

    Safe to call from several processes at once. Raises :class:`LocalKafkaError` when the cache
    cannot be written, the network is away, or a jar is not the one that was locked.
    """
    if found := find_kafka():
        return found
    home = cache_dir()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with file_lock(home / "download.lock", what="downloading Kafka", timeout_s=600):
            return find_kafka() or _install(home)  # somebody else may have been first
    except OSError as error:
        raise LocalKafkaError(f"the cache {home} cannot be written: {error}") from error


def _install(home: Path) -> Distribution:
    root = home / f"kafka-{VERSION}-{hashlib.sha256(_lock_text().encode()).hexdigest()[:8]}"
    for abandoned in home.glob(".download-*"):  # by a process that was killed; we hold the lock
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=home) as scratch:
        staged = Path(scratch) / "kafka"
        (staged / "jars").mkdir(parents=True)
        _download(Path(scratch) / "repository", staged / "jars")
        if root.exists():  # not whole, or we would not be here
            shutil.rmtree(root)
        staged.rename(root)
    found = find_kafka()
    if found is None:
        raise LocalKafkaError(f"{root} changed while Kafka was being put there; try again")
    return found


def _download(repository: Path, target: Path) -> None:
    total = sum(jar.size_bytes for jar in locked_jars())
    with (
        Progress(f"Downloading Apache Kafka {VERSION}", total) as progress,
        ThreadPoolExecutor(_CONNECTIONS) as pool,
    ):

        def fetch(jar: Jar) -> None:
            path = _fetch(jar, repository)
            check_jar(jar, path)
            path.rename(target / jar.name)
            progress.advance(jar.size_bytes)

        try:
            list(pool.map(fetch, locked_jars()))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch(jar: Jar, repository: Path) -> Path:
    context = _maven(repository)
    group, artifact, version = jar.coordinate.split(":")
    wanted = context.project(group, artifact).at_version(version).artifact()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return Path(wanted.resolve())
        except OSError as error:  # what requests raises, and a full disk
            if attempt == _ATTEMPTS or error.errno is not None:
                raise LocalKafkaError(_cannot_download(jar, error)) from error
            # jgo takes a file that is there for complete, which a broken-off one is not.
            Path(wanted.cached_path).unlink(missing_ok=True)
        except RuntimeError as error:
            raise LocalKafkaError(_cannot_download(jar, error)) from error
    raise AssertionError("unreachable")


def _cannot_download(jar: Jar, error: Exception) -> str:
    # urllib3 wraps what happened in what it was trying, several lines of it.
    reason = getattr(error.args[0], "reason", error) if error.args else error
    return (
        f"Apache Kafka {VERSION} is not in the cache ({cache_dir()}) and {jar.coordinate} could "
        f"not be downloaded from Maven Central: {reason}; it is needed once, afterwards no network "
        "is; or set HEADWATER_BOOTSTRAP_SERVERS to use a Kafka that runs already"
    )


def check_jar(jar: Jar, path: Path) -> None:
    """Raises :class:`LocalKafkaError` when the file is not the jar that was locked."""
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if actual != jar.sha256:
        raise LocalKafkaError(
            f"{jar.coordinate} is not the file that was locked: SHA-256 {actual}, expected "
            f"{jar.sha256}; the download was damaged or tampered with, and is not used"
        )


def _maven(repository: Path) -> Any:
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise LocalKafkaError(f"downloading Kafka needs jgo; {INSTALL_HINT}") from error
    return MavenContext(repo_cache=repository, timeout=30)


def make_lock(repository: Path) -> str:
    """Resolves Kafka's one coordinate anew and returns the text of a lock for it."""
    from dataclasses import replace

    from jgo.parse import Coordinate

    context = _maven(repository)

    def dependency(text: str) -> Any:
        return context.create_dependency(replace(Coordinate.parse(text), scope="compile"))

    roots, below = context.resolver.resolve([dependency(_ROOT)])
    wanted = [*roots, *(each for each in below if each.scope in ("compile", "runtime"))]
    artifacts = [each.artifact for each in wanted] + [dependency(_LOGGER).artifact]
    return _format_lock(
        (f"{each.groupId}:{each.artifactId}:{each.version}", Path(each.resolve()))
        for each in artifacts
    )


def _format_lock(jars: Iterable[tuple[str, Path]]) -> str:
    lines = [
        "# The jars of Apache Kafka: SHA-256, size in bytes, Maven coordinate.",
        f"# Made by `python -m headwater.local.jars` from {_ROOT}",
        f"# and {_LOGGER}; sorted by file name, which is the class path's order.",
    ]
    for coordinate, path in sorted(jars, key=lambda jar: jar[1].name):
        data = path.read_bytes()
        lines.append(f"{hashlib.sha256(data).hexdigest()} {len(data):>8} {coordinate}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as _scratch:
        sys.stdout.write(make_lock(Path(_scratch)))
