"""Values as files: drafts, strangers' files, file systems other than the local one, errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from headwater import ConfigError, HeadwaterError, KeyNotFound, TerminalError, Unavailable
from headwater.tiers import Tier, open_tier
from headwater.tiers.files import PARTIAL, FileStore, open_files, to_headwater
from headwater.tiers.keys import path_of


@pytest.fixture
def elsewhere() -> Iterator[Tier]:
    """A tier on a file system that is not the local one: fsspec's own, in memory."""
    fs = MemoryFileSystem()
    yield Tier(FileStore(fs, "/bucket/tier", "memory"))
    fs.rm("/bucket", recursive=True)


def test_any_file_system(elsewhere: Tier) -> None:
    """A file system of fsspec does what the local one does."""
    for key in ("a", "a/b", "B/c", "é"):
        elsewhere.save(key, key.encode() * 100_000)
    assert [entry.key for entry in elsewhere.list()] == ["B/c", "a", "a/b", "é"]
    assert [entry.size_bytes for entry in elsewhere.list("a/")] == [300_000]
    assert all(entry.saved_at_ms for entry in elsewhere.list())
    assert elsewhere.load("a/b") == b"a/b" * 100_000
    for _ in range(2):
        elsewhere.delete("a/b")
    with pytest.raises(KeyNotFound):
        elsewhere.load("a/b")
    assert elsewhere.sweep() == 0


def test_drafts_of_the_dead(tmp_path: Path) -> None:
    """A draft that a killed save left is not listed, and is removed once it is old enough."""
    with open_tier(tmp_path) as tier:
        tier.save("a", b"1")
        old, new = (tmp_path / PARTIAL / name for name in ("old", "new"))
        for draft in (old, new):
            draft.write_bytes(b"12345")
        os.utime(old, (0, 0))
        assert [entry.key for entry in tier.list()] == ["a"]
        assert tier.sweep() == 5
        assert (old.exists(), new.exists()) == (False, True)
        assert tier.sweep(timedelta(0)) == 5
    os.utime(tmp_path / path_of("a"), (0, 0))
    old.write_bytes(b"12345")
    os.utime(old, (0, 0))
    with open_tier(tmp_path) as tier:
        assert not old.exists()
        assert tier.load("a") == b"1"


def test_a_save_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full leaves the old value, and no draft; the same call can be made again."""
    with open_tier(tmp_path) as tier:
        tier.save("a", b"old")

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", full)
            with pytest.raises(Unavailable, match=r"saving 'a' to .*No space left"):
                tier.save("a", b"new")
        assert tier.load("a") == b"old"
        assert list((tmp_path / PARTIAL).iterdir()) == []


def test_everything_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save has the file on the disk before it has its name, and then its folder and every
    folder that it had to make.
    """
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().as_posix())
        fsync(descriptor)

    with open_tier(tmp_path) as tier:
        monkeypatch.setattr(os, "fsync", note)
        tier.save("a/b/c", b"1")
        root = tmp_path.as_posix()
        assert synced[0].startswith(f"{root}/{PARTIAL}/")
        assert synced[1:] == [root, f"{root}/a", f"{root}/a/b"]


def test_files_of_others(tmp_path: Path) -> None:
    """Files that are no values are left alone."""
    with open_tier(tmp_path) as tier:
        tier.save("a", b"1")
        for name in ("README.md", "A.value", "%zz.value"):
            (tmp_path / name).write_text("somebody else's")
        assert [entry.key for entry in tier.list()] == ["a"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError("denied"), ConfigError),
        (NotADirectoryError("a"), ConfigError),
        (OSError(errno.EIO, "bad disk"), Unavailable),
        (TimeoutError(), Unavailable),
        (ConnectionResetError("reset"), Unavailable),
        (RuntimeError("a bug"), TerminalError),
    ],
)
def test_errors(error: Exception, kind: type[HeadwaterError]) -> None:
    """What a file system raises becomes what the caller can act on."""
    assert type(to_headwater(error, "loading")) is kind


def test_secrets_stay_out_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages and repr name a file system without its credentials."""

    def other(url: str, **_: Any) -> tuple[Any, str]:
        return MemoryFileSystem(), "/a"

    monkeypatch.setattr("fsspec.core.url_to_fs", other)
    shown = repr(Tier(open_files("ftp://user:hidden@host/a?token=hidden")))
    assert "hidden" not in shown
    assert "ftp://***@host/a" in shown
