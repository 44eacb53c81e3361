"""A real PostgreSQL on loopback for tests and benchmarks, gone when the process that asked is.

Its programs are those of the machine, or else Debian's packages, fetched with ``apt-get`` and
unpacked into a cache folder, for which one need not be root. With ``HEADWATER_TEST_POSTGRES=fetch``
the machine's own are not looked at.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from headwater.local.paths import cache_dir
from headwater.local.process import Watchdog

_START_S = 30.0
_STOP_S = 5.0
_USER = "headwater"

# Nothing here outlives a test: what the machine itself would lose in a crash does not matter.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "50",
    "dynamic_shared_memory_type": "mmap",
    "autovacuum": "off",
}


class NoPostgres(Exception):
    """No PostgreSQL can be had here; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Where ``initdb`` and ``postgres`` are, and where their libraries are if not the system's."""

    folder: Path
    libraries: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment to run them in."""
        libraries = {"LD_LIBRARY_PATH": str(self.libraries)} if self.libraries else {}
        return {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"} | libraries


class Server(NamedTuple):
    """A server that was started, and where it talks."""

    popen: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """At once, without saving anything; its own processes end with it."""
        self.popen.send_signal(signal.SIGQUIT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(_STOP_S)


@contextlib.contextmanager
def postgres(**settings: str) -> Iterator[str]:
    """The URL of a new, empty server; ``settings`` are those of its ``postgresql.conf``.

    Raises :class:`NoPostgres` where none can be had.
    """
    programs = find_programs()
    home = Path(tempfile.mkdtemp(prefix="headwater-postgres-"))
    watchdog = Watchdog(home)
    try:
        port, password = _free_port(), secrets.token_hex(8)
        _init(programs, home, password)
        options = [f"-c{k}={v}" for k, v in (_SETTINGS | {"port": str(port)} | settings).items()]
        command = [str(programs.folder / "postgres"), "-D", str(home / "data"), *options]
        server = _start(command, programs, home, watchdog.group)
        try:
            url = f"postgresql://{_USER}:{password}@127.0.0.1:{port}/postgres"
            _await_ready(url, server)
            yield url
        finally:
            server.stop()
    finally:
        watchdog.end()
        shutil.rmtree(home, ignore_errors=True)


def find_programs() -> Programs:
    """The machine's PostgreSQL, or the one that was fetched, or one that is fetched now."""
    if os.environ.get("HEADWATER_TEST_POSTGRES") != "fetch":
        on_path = shutil.which("initdb")
        found = [Path(on_path).resolve().parent] if on_path else []
        found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
        for folder in found:
            if (folder / "postgres").exists() and (folder / "initdb").exists():
                return Programs(folder=folder)
    return _fetched(_shared_cache() / "postgres")


def _fetched(cache: Path) -> Programs:
    unpacked = cache / "unpacked"
    if not unpacked.exists():
        _fetch(cache, unpacked)
    folders = sorted(unpacked.glob("usr/lib/postgresql/*/bin"), key=_version)
    libraries = [path.parent for path in unpacked.glob("usr/lib/*/libpq.so.5")]
    return Programs(folder=folders[-1], libraries=libraries[0] if libraries else None)


def _fetch(cache: Path, unpacked: Path) -> None:
    """Have apt find out what the machine lacks, download that, and unpack it."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise NoPostgres("PostgreSQL is not installed, and there is no apt-get to fetch it with")
    downloads = cache / "downloads"
    lists = cache / "lists"
    for folder in (downloads / "partial", lists / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    options = {
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
        "Dir::Cache::archives": str(downloads),
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::State::lists": str(lists),
    }
    apt = [f"-o{name}={value}" for name, value in options.items()]
    _run(["apt-get", *apt, "update"])
    shown = _run(["apt-cache", *apt, "depends", "--important", "postgresql"])
    server = next((word for word in shown.split() if word.startswith("postgresql-")), None)
    if server is None:
        raise NoPostgres("apt knows no package 'postgresql'")
    wanted = [server, server.replace("-", "-client-", 1), "libpq5"]
    choice = ["--yes", "--no-install-recommends", "--reinstall", "--download-only"]
    _run(["apt-get", *apt, *choice, "install", *wanted])
    draft = Path(tempfile.mkdtemp(dir=cache))
    draft.chmod(0o755)
    for package in downloads.glob("*.deb"):
        _run(["dpkg-deb", "--extract", str(package), str(draft)])
    with contextlib.suppress(OSError):  # somebody else was faster
        draft.rename(unpacked)
    for folder in (downloads, lists):
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], **options: Any) -> str:
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=300, **options
        )
    except subprocess.CalledProcessError as error:
        raise NoPostgres(f"{' '.join(command)}: {error.stderr.strip()[-500:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoPostgres(f"{' '.join(command)}: {error}") from error
    return done.stdout


def _shared_cache() -> Path:
    # The user that the server runs as must be able to read it, and root's home is root's.
    return Path("/var/cache/headwater") if os.geteuid() == 0 else cache_dir()


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdigit())


def _as_owner() -> dict[str, Any]:
    """Options for a subprocess: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _init(programs: Programs, home: Path, password: str) -> None:
    secret = home / "password"
    secret.write_text(password, encoding="ascii")
    owner = _as_owner()
    if owner:
        for path in (home, secret):
            os.chown(path, owner["user"], owner["group"])
    login = [f"--username={_USER}", f"--pwfile={secret}", "--auth=scram-sha-256"]
    layout = ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    command = [str(programs.folder / "initdb"), f"--pgdata={home / 'data'}", *login, *layout]
    _run(command, env=programs.environment, cwd=home, **owner)


def _start(command: list[str], programs: Programs, home: Path, group: int) -> Server:
    log = home / "log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=programs.environment,
            cwd=home,
            process_group=group,
            **_as_owner(),
        )
    return Server(popen, log)


def _await_ready(url: str, server: Server) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if server.popen.poll() is not None or time.monotonic() > deadline:
                said = server.log.read_text(errors="replace")
                raise NoPostgres(f"PostgreSQL does not start: {error}\n{said}") from error
            time.sleep(0.02)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
