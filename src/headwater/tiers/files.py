"""Values as files: a local directory, or any file system that fsspec has."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from headwater.errors import ConfigError, HeadwaterError, TerminalError, Unavailable
from headwater.tiers.keys import folder_of, key_of, path_of
from headwater.tiers.store import Entry

#: Where local saves are written before they are named; no key is ever spelt like that.
PARTIAL = ".partial"

_AMISS = (FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)


def open_files(url: str) -> FileStore:
    """The files below a path or URL. Raises :class:`ConfigError` for one that fsspec cannot use."""
    with mapped(f"opening {_masked(url)}"):
        try:
            fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"{_masked(url)} cannot be used as a tier: {error}") from error
        if isinstance(fs, LocalFileSystem):
            return LocalFileStore(fs, root)
    return FileStore(fs, root, _masked(url))


class FileStore:
    """A file system of fsspec that replaces a file as a whole, as object stores do."""

    def __init__(self, fs: Any, root: str, name: str) -> None:
        self.name = name
        self._fs = fs
        self._root = root.rstrip("/")

    def put(self, key: str, sealed: bytes) -> None:
        """One upload."""
        with mapped(f"saving {key!r} to {self.name}"):
            self._fs.pipe_file(self._path(key), sealed)

    def get(self, key: str) -> bytes | None:
        """One download."""
        with mapped(f"loading {key!r} from {self.name}"):
            try:
                return bytes(self._fs.cat_file(self._path(key)))
            except FileNotFoundError:
                return None

    def remove(self, key: str) -> None:
        """One removal."""
        with mapped(f"deleting {key!r} from {self.name}"), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(key))

    def scan(self, prefix: str) -> Iterator[Entry]:
        """A listing of the folder that the prefix names, sorted here: it comes in another order."""
        with mapped(f"listing {self.name}"):
            files = list(self._files(f"{self._root}/{folder_of(prefix)}".rstrip("/")))
        entries = []
        for path, size_bytes, saved_at_ms in files:
            key = key_of(path[len(self._root) + 1 :])
            if key is not None and key.startswith(prefix):
                entries.append(Entry(key=key, size_bytes=size_bytes, saved_at_ms=saved_at_ms))
        yield from sorted(entries, key=lambda entry: entry.key)

    def _files(self, folder: str) -> Iterator[tuple[str, int, int | None]]:
        """Path, size and time of each file in a folder and below."""
        self._fs.invalidate_cache()
        for path, info in self._fs.find(folder, detail=True).items():
            yield path, info["size"], _time_ms(info)

    def sweep(self, older_than: timedelta) -> int:
        """Object stores drop unfinished uploads by their own rules."""
        return 0

    def close(self) -> None:
        """Nothing: fsspec keeps its connections for the next user."""

    def _path(self, key: str) -> str:
        return f"{self._root}/{path_of(key)}"


class LocalFileStore(FileStore):
    """A local directory. A save writes a file aside, has it on the disk, then gives it its name."""

    def __init__(self, fs: LocalFileSystem, root: str) -> None:
        super().__init__(fs, root, root)
        self._partial = Path(root) / PARTIAL
        with mapped(f"opening {root}"):
            _make_folder(self._partial)
        self.sweep(timedelta(hours=1))

    def put(self, key: str, sealed: bytes) -> None:
        """Write, sync, rename, sync: the rename is what a reader sees, or does not."""
        target = Path(self._path(key))
        draft = self._partial / uuid.uuid4().hex
        with mapped(f"saving {key!r} to {self.name}"):
            try:
                _make_folder(self._partial)
                with draft.open("xb") as file:
                    file.write(sealed)
                    file.flush()
                    os.fsync(file.fileno())
                _make_folder(target.parent)
                draft.replace(target)
            finally:
                draft.unlink(missing_ok=True)
            _sync_folder(target.parent)

    def remove(self, key: str) -> None:
        """Remove the file for good; its folder stays for those who write there right now."""
        target = Path(self._path(key))
        with mapped(f"deleting {key!r} from {self.name}"), contextlib.suppress(FileNotFoundError):
            target.unlink()
            _sync_folder(target.parent)

    def _files(self, folder: str) -> Iterator[tuple[str, int, int | None]]:
        # fsspec's own listing fails over a file that is gone before it has been looked at.
        for directory, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    path = Path(directory, name)
                    status = path.stat()
                    yield str(path), status.st_size, status.st_mtime_ns // 1_000_000

    def sweep(self, older_than: timedelta) -> int:
        """Remove drafts that nobody has written to for so long."""
        freed = 0
        with mapped(f"sweeping {self.name}"):
            for draft in self._partial.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    status = draft.stat()
                    if time.time() - status.st_mtime >= older_than.total_seconds():
                        draft.unlink()
                        freed += status.st_size
        return freed


@contextmanager
def mapped(doing: str) -> Iterator[None]:
    """Raises what a file system raises in the block as Headwater's errors."""
    try:
        yield
    except HeadwaterError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise to_headwater(error, doing) from error


def to_headwater(error: Exception, doing: str) -> HeadwaterError:
    """The Headwater error for ``error``, met while ``doing`` something."""
    text = f"{doing}: {str(error) or type(error).__name__}"
    if isinstance(error, _AMISS):
        return ConfigError(f"{text}; check the path, the credentials and the access rights")
    if isinstance(error, OSError):
        return Unavailable(f"{text}; the call can be made again")
    return TerminalError(f"{text} ({type(error).__name__})")


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, on the disk: a synced file in a lost folder is lost."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _time_ms(info: dict[str, Any]) -> int | None:
    # Each file system of fsspec has a name of its own for it.
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        when = info.get(name)
        if isinstance(when, datetime):
            return round(when.timestamp() * 1000)
        if isinstance(when, int | float):
            return round(when * 1000)
    return None


def _masked(url: str) -> str:
    """The URL without what may be secret: what stands before an @, and the query."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    _, at, shown = rest.partition("?")[0].rpartition("@")
    return f"{scheme}://{'***@' if at else ''}{shown}"
