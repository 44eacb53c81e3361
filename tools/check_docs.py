"""Checks the documentation: every relative link resolves, and the README stays short."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
README_LINES = 120

FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)>\s]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
HEADING = re.compile(r"^#+\s+(.*?)\s*#*$", re.MULTILINE)


def links(text: str) -> list[str]:
    """The targets of all links outside of code, in order."""
    prose = CODE.sub("", FENCE.sub("", text))
    return [inline or reference for inline, reference in LINK.findall(prose)]


def anchors(text: str) -> set[str]:
    """The fragments that the headings of a page can be linked by, spelt as GitHub does."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        repeats = (f"{slug}-{n}" for n in count(1))
        found.add(
            slug if slug not in found else next(name for name in repeats if name not in found)
        )
    return found


def broken_links(page: Path) -> Iterator[str]:
    """One sentence for each relative link of a page that leads nowhere, headings included."""
    for link in links(page.read_text()):
        path, _, fragment = unquote(link).partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        target = page.parent / path if path else page
        if not target.exists():
            yield f"links to {link}, which does not exist"
        elif fragment and target.suffix == ".md" and fragment not in anchors(target.read_text()):
            yield f"links to {link}, but that page has no such heading"


def problems(root: Path) -> Iterator[str]:
    """Everything that is wrong with the documentation below `root`, one line each."""
    readme = root / "README.md"
    if not readme.exists():
        yield "README.md: is missing"
    elif (lines := len(readme.read_text().splitlines())) > README_LINES:
        yield f"README.md: has {lines} lines, more than {README_LINES}: move some to docs/"
    pages = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("benchmarks/**/*.md")]
    for page in sorted(pages):
        for problem in broken_links(page):
            yield f"{page.relative_to(root)}: {problem}"


if __name__ == "__main__":
    found = list(problems(ROOT))
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(1 if found else 0)
