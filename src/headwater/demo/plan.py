"""Who audits what: every installed distribution, dealt out to agents as a fixed list of steps.

The plan is made once and written to a file. So all processes, and the run that it is compared with
in the end, do exactly the same steps.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec

from headwater.errors import HeadwaterError

MIN_STEPS = 10
"""An agent has at least as many steps, so that a kill can come in the middle of them."""

STEP_BYTES = 256 << 10
"""About as much of a distribution's files is looked at in one step; the rest is left out."""

LARGEST_BYTES = 4 << 20
"""Larger files are left out."""


Kind = Literal["metadata", "files", "dependencies"]


class FileEntry(msgspec.Struct, frozen=True):
    """One file as its distribution's RECORD has it; ``digest`` is "sha256=..." or empty."""

    path: str
    digest: str
    size_bytes: int


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step: one look at one distribution, which was found in ``folder``."""

    id: str
    kind: Kind
    distribution: str
    folder: str
    files: tuple[FileEntry, ...] = ()


class AgentPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent does, in this order."""

    agent_id: str
    steps: tuple[Step, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What all agents do; ``installed`` has the version of each distribution by its name."""

    installed: dict[str, str]
    agents: tuple[AgentPlan, ...]

    def write(self, path: Path) -> None:
        """Write the plan to a file."""
        path.write_bytes(msgspec.json.encode(self))

    @classmethod
    def read(cls, path: Path) -> Plan:
        """The plan in a file."""
        return msgspec.json.decode(path.read_bytes(), type=cls)


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One installed distribution."""

    name: str
    version: str
    folder: str
    files: tuple[FileEntry, ...]


def make_plan(packages: Sequence[Package], agents: int, steps: int) -> Plan:
    """Deal ``packages`` out to ``agents`` agents with about ``steps`` steps each.

    There are fewer agents where there are fewer packages than agents.
    """
    if not packages:
        raise HeadwaterError("no Python distribution is installed here: nothing can be audited")
    ordered = sorted(packages, key=lambda package: package.name)
    shares = [ordered[i::agents] for i in range(min(agents, len(ordered)))]
    return Plan(
        installed={package.name: package.version for package in ordered},
        agents=tuple(
            AgentPlan(agent_id=f"auditor-{number}", steps=tuple(_steps(share, steps)))
            for number, share in enumerate(shares, start=1)
        ),
    )


def _steps(share: Sequence[Package], wanted: int) -> Iterator[Step]:
    """An agent's steps; its packages are gone through again until there are ``MIN_STEPS``."""
    spare = max(wanted - 2 * len(share), len(share))
    weight = sum(map(_weight, share)) or 1
    done = 0
    passes = 0
    while done < MIN_STEPS:
        passes += 1
        for package in share:
            groups = max(1, round(spare * _weight(package) / weight))
            for step in _package_steps(package, groups, passes):
                done += 1
                yield step


def _weight(package: Package) -> int:
    return sum(min(file.size_bytes, LARGEST_BYTES) for file in package.files)


def _package_steps(package: Package, groups: int, passes: int) -> Iterator[Step]:
    again = f"#{passes}" if passes > 1 else ""

    def step(kind: Kind, part: str = "", files: Iterable[FileEntry] = ()) -> Step:
        return Step(
            id=f"{package.name}/{kind}{part}{again}",
            kind=kind,
            distribution=package.name,
            folder=package.folder,
            files=tuple(files),
        )

    yield step("metadata")
    for number, group in enumerate(_groups(package.files, groups), start=1):
        yield step("files", f"-{number}", group)
    yield step("dependencies")


def _groups(files: Sequence[FileEntry], groups: int) -> Iterator[list[FileEntry]]:
    """At most ``groups`` groups of neighbouring files, each cut at ``STEP_BYTES``."""
    small = [file for file in files if file.size_bytes <= LARGEST_BYTES]
    groups = min(groups, len(small))
    for i in range(groups):
        group: list[FileEntry] = []
        size = 0
        for file in small[i * len(small) // groups : (i + 1) * len(small) // groups]:
            size += file.size_bytes
            if group and size > STEP_BYTES:
                break
            group.append(file)
        yield group


def installed_packages() -> list[Package]:
    """Every distribution that Python finds here; where one shadows another, the one that counts."""
    found: dict[str, Package] = {}
    for distribution in metadata.distributions():
        title = distribution.metadata["Name"]
        if not title or normalised(title) in found:
            continue
        name = normalised(title)
        folder = Path(str(distribution.locate_file(""))).resolve()
        found[name] = Package(
            name=name,
            version=distribution.version or "",
            folder=str(folder),
            files=tuple(_record(distribution.read_text("RECORD") or "", folder)),
        )
    return list(found.values())


def _record(text: str, folder: Path) -> Iterator[FileEntry]:
    for row in csv.reader(text.splitlines()):
        # Without a digest are RECORD itself and compiled files, which change when Python likes.
        if len(row) == 3 and row[1].startswith("sha256="):
            size = int(row[2]) if row[2].isdigit() else 0
            yield FileEntry(str(folder / row[0]), row[1], size)


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
