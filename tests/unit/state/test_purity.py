"""The state core stands alone."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import headwater.state

FILES = sorted(Path(headwater.state.__path__[0]).glob("*.py"))
IMPURE = {"asyncio", "io", "os", "pathlib", "random", "secrets", "socket", "threading", "time"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_imports(file: Path) -> None:
    """It imports msgspec, the errors, itself, and of the standard library nothing that does I/O."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            root = name.partition(".")[0]
            if root == "headwater":
                assert name == "headwater.errors" or name.startswith("headwater.state")
            else:
                assert root == "msgspec" or root in sys.stdlib_module_names - IMPURE
