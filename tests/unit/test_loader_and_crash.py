"""Finding the apps beside the library, and dying where a test says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from headwater.errors import ConfigError
from headwater.loader import app_module, load_app


def test_an_app_is_found_in_a_checkout_or_in_the_wheel() -> None:
    """The compactor can be loaded, and run by its name, wherever it lies."""
    assert app_module("streams.snapshots") in ("streams.snapshots", "headwater.streams.snapshots")
    assert hasattr(load_app("streams.snapshots"), "Compactor")


def test_an_app_that_is_in_neither_place_is_reported() -> None:
    """A broken installation says what to do."""
    with pytest.raises(ConfigError, match="install headwater again"):
        app_module("dams.snapshots")


@pytest.mark.parametrize(
    ("where", "code"), [("here:2", -signal.SIGKILL), ("here:4", 0), ("there", 0), ("", 0)]
)
def test_a_process_ends_at_the_named_place_and_nowhere_else(where: str, code: int) -> None:
    """The n-th time it comes there, it is gone as if by SIGKILL."""
    program = "from headwater.crash import crash_point as c; [c('here') for _ in range(3)]"
    environ = {**os.environ, "HEADWATER_CRASH_AT": where, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, check=False)
    assert done.returncode == code
