"""The package's surface."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

import headwater
from headwater import errors


def test_exports_equal_all() -> None:
    """What the package shows is what it lists, each name is there, and no other."""
    assert set(headwater.__all__) <= set(dir(headwater))
    for name in headwater.__all__:
        assert getattr(headwater, name).__class__ is not types.ModuleType
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = headwater.nothing_such


def test_every_error_is_exported_and_drawn() -> None:
    """Each exception class can be imported from the package and stands in the tree's drawing."""
    tree = errors.__doc__ or ""
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.HeadwaterError):
            assert name in headwater.__all__, name
            assert name in tree, name


def test_importing_is_light() -> None:
    """Importing starts no thread and brings in neither Faust nor a command line."""
    code = (
        "import sys, threading, headwater;"
        "print(threading.active_count(), [m for m in ('faust', 'click', 'rich', 'jgo') "
        "if m in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.strip() == "1 []"
