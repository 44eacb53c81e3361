"""A lock between processes, on a file that stays."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headwater.errors import LocalKafkaError


@contextmanager
def file_lock(path: Path, *, what: str, timeout_s: float) -> Iterator[None]:
    """Holds ``path`` exclusively; the kernel lets go when the process dies.

    Raises :class:`LocalKafkaError` when somebody else has held it for ``timeout_s``.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + timeout_s
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise LocalKafkaError(
                    f"another process has been busy with {what} for {timeout_s:.0f} s "
                    f"(it holds {path}); try again when it is done"
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
