"""Addresses of tiers, and what is said about bad ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headwater import Config, ConfigError, KeyNotFound
from headwater.tiers import open_tier


def test_memory_is_shared_by_name() -> None:
    """Tiers of one name share their values; tiers without a name share nothing."""
    with open_tier("memory:shared") as one, open_tier("memory:shared") as other:
        one.save("a", b"1")
        assert other.load("a") == b"1"
    with open_tier("memory:") as one, open_tier("memory:") as other:
        one.save("a", b"1")
        with pytest.raises(KeyNotFound):
            other.load("a")


@pytest.mark.parametrize("spelt", ["{}", "file://{}", "{}/", "sqlite:///{}/a.db"])
def test_places_on_disk(tmp_path: Path, spelt: str) -> None:
    """Paths, file URLs and SQLite URLs mean what they say."""
    with open_tier(spelt.format(tmp_path)) as tier:
        tier.save("a/b", b"1")
    assert any(tmp_path.iterdir())
    with open_tier(spelt.format(tmp_path)) as tier:
        assert tier.load("a/b") == b"1"


def test_a_path_object_and_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may be a Path, and is relative to the folder in which it is opened."""
    monkeypatch.chdir(tmp_path)
    with open_tier(Path("below")) as tier:
        tier.save("a", b"1")
    with open_tier(tmp_path / "below") as tier:
        assert tier.load("a") == b"1"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "use memory:NAME"),
        ("sqlite:///:memory:", "use memory:NAME"),
        ("sqlite:nonsense", "no address of a database"),
        ("sqlite:////no/such/folder/a.db", "unable to open"),
        ("sqlite:///a.db?table=drop table", "cannot be the name of a table"),
        ("nonsense://bucket", "Protocol not known: nonsense"),
        ("mysql+nonsense://user:hidden@127.0.0.1/name", "nonsense"),
        ("kafka:", "name the tier"),
        ("kafka:a/b", "name the tier"),
        ("kafka://127.0.0.1:1", "name the tier"),
        ("kafka:a?partitions=0", "partitions=NUMBER"),
        ("kafka://user:hidden@127.0.0.1:1/a", "belong into the configuration"),
    ],
)
def test_bad_addresses(
    url: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad address is a configuration error that says what is wrong, and no password."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said) as raised:
        open_tier(url, Config(bootstrap_servers="127.0.0.1:1"))
    assert "hidden" not in str(raised.value)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    """A file where the directory should be is a configuration error."""
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(ConfigError, match="taken"):
        open_tier(tmp_path / "taken")


@pytest.mark.parametrize(
    ("package", "url", "said"),
    [
        ("fsspec", "/tmp", "pip install 'headwater[tiers]'"),
        ("sqlalchemy", "sqlite:///a.db", "pip install 'headwater[tiers]'"),
        ("psycopg", "postgresql://127.0.0.1/a", "pip install 'headwater[postgres]'"),
        ("s3fs", "s3://bucket/a", "nstall s3fs"),
    ],
)
def test_a_missing_package(package: str, url: str, said: str, tmp_path: Path) -> None:
    """Where a package is missing, the message says what to install."""
    code = (
        "import sys; from headwater.tiers import open_tier\n"
        f"sys.modules[{package!r}] = None\n"
        f"open_tier({url!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("headwater.errors.ConfigError"), done.stderr
    assert said in last
