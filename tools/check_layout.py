"""Checks the shape of the code: nothing is too long, and imports follow the arrows.

The arrows are those of the layout: `streams` and `consumers` may use `headwater`, never the other
way round, and the pure core does no I/O and reads no clock.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "streams", "consumers", "compose", "benchmarks", "tests", "tools")
MODULE_LINES = 400
FUNCTION_LINES = 70

IMPURE = (
    *("asyncio", "concurrent", "logging", "multiprocessing", "os", "pathlib", "random", "secrets"),
    *("shutil", "signal", "socket", "subprocess", "tempfile", "threading", "time"),
    *("confluent_kafka", "headwater.agent", "headwater.kafka", "headwater.local"),
)
"""What the pure core must not import: time, randomness and bytes are its arguments."""

FORBIDDEN = {
    "src/headwater": ("aiokafka", "benchmarks", "consumers", "faust", "streams", "tests"),
    "src/headwater/log": IMPURE,
    "src/headwater/state": IMPURE,
    "streams": ("benchmarks", "tests"),
    "consumers": ("benchmarks", "tests"),
}
"""For each folder, the packages that nothing in it may import."""


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of each absolute import, wherever in the module it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def long_functions(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and complaint for each function over the limit, decorators and docstring included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {lines} lines, more than {FUNCTION_LINES}"


def problems(path: str, source: str) -> Iterator[str]:
    """Everything that is wrong with the shape of one module; `path` is relative to the checkout."""
    if (count := source.count("\n")) > MODULE_LINES:
        yield f"{path}: has {count} lines, more than {MODULE_LINES}: split it"
    tree = ast.parse(source, path)
    for line, problem in long_functions(tree):
        yield f"{path}:{line}: {problem}"
    banned = [
        name
        for folder, names in FORBIDDEN.items()
        if path.startswith(f"{folder}/")
        for name in names
    ]
    for line, name in imported(tree):
        if any(name == other or name.startswith(f"{other}.") for other in banned):
            yield f"{path}:{line}: imports {name}, against the arrows of the layout"


if __name__ == "__main__":
    modules = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    found = [
        problem
        for module in modules
        for problem in problems(module.relative_to(ROOT).as_posix(), module.read_text())
    ]
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(1 if found else 0)
