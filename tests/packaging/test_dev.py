"""The contributor's script, and the checks that are the project's own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tools import check_docs, check_layout

ROOT = Path(__file__).resolve().parent.parent.parent


def dev(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `./dev` says, called from another folder."""
    return subprocess.run(
        [ROOT / "dev", *arguments], cwd="/", capture_output=True, text=True, timeout=30, check=False
    )


def test_dev_alone_lists_every_verb() -> None:
    """Each verb that the script knows is listed, and the listing is its whole output."""
    said = dev()
    known = re.findall(r"^([a-z]+)\) ", (ROOT / "dev").read_text(), re.MULTILINE)
    listed = re.findall(r"^  ([a-z]+)\b", said.stdout, re.MULTILINE)
    assert (said.returncode, said.stderr) == (0, "")
    assert {"demo", "test", "bench", "check"} <= set(known) == set(listed)


def test_dev_refuses_an_unknown_verb() -> None:
    """A mistyped verb lists the right ones and fails."""
    said = dev("chekc")
    assert said.returncode != 0
    assert "no verb 'chekc'" in said.stderr


def test_docs_check_finds_broken_links(tmp_path: Path) -> None:
    """A link to a missing page or heading is reported; code and other sites are left alone."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# One way\n\n# One way\n")
    (tmp_path / "README.md").write_text(
        "[a](docs/a.md) [b](docs/a.md#one-way-1) [c](https://example.org/x)\n"
        "`[d](gone.md)`\n```\n[e](gone.md)\n```\n"
        "[f](docs/b.md) [g](docs/a.md#two)\n"
    )
    assert list(check_docs.problems(tmp_path)) == [
        "README.md: links to docs/b.md, which does not exist",
        "README.md: links to docs/a.md#two, but that page has no such heading",
    ]


def test_docs_check_finds_a_long_readme(tmp_path: Path) -> None:
    """A README over its limit is reported, and so is none at all."""
    (only,) = check_docs.problems(tmp_path)
    assert "missing" in only
    (tmp_path / "README.md").write_text("line\n" * 121)
    (only,) = check_docs.problems(tmp_path)
    assert "121 lines" in only


@pytest.mark.parametrize(
    ("path", "source", "problem"),
    [
        ("src/headwater/log/fold.py", "import time\n", "imports time"),
        (
            "src/headwater/state/x.py",
            "from headwater.kafka import y\n",
            "imports headwater.kafka.y",
        ),
        ("src/headwater/x.py", "def f():\n    from streams import z\n", "imports streams.z"),
        ("streams/x.py", "x = 1\n" * 401, "has 401 lines"),
        ("consumers/x.py", "def f():\n" + "    x = 1\n" * 70, "f has 71 lines"),
    ],
)
def test_layout_check_finds(path: str, source: str, problem: str) -> None:
    """Imports against the arrows, long modules and long functions are reported."""
    (only,) = check_layout.problems(path, source)
    assert problem in only


def test_layout_check_allows_the_arrows() -> None:
    """What the layout allows is not reported: relative imports, and names that only begin alike."""
    assert not list(check_layout.problems("streams/x.py", "from . import y\nimport headwater\n"))
    assert not list(check_layout.problems("src/headwater/state/x.py", "import timeit\n"))
