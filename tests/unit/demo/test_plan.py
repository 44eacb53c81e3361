"""How the work is dealt out."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.demo.plan import (
    LARGEST_BYTES,
    MIN_STEPS,
    STEP_BYTES,
    FileEntry,
    Package,
    Plan,
    installed_packages,
    make_plan,
    normalised,
)
from headwater.errors import HeadwaterError


def package(name: str, *sizes: int) -> Package:
    """A package with files of these sizes."""
    files = tuple(FileEntry(f"/{name}/{i}.py", "sha256=x", n) for i, n in enumerate(sizes))
    return Package(name=name, version="1", folder="/", files=files)


def test_every_distribution_is_somebodys() -> None:
    """Each package is audited by exactly one agent, whatever their order was."""
    packages = [package(f"p{i}", 10, 20, 30) for i in range(20)]
    plan = make_plan(packages[::-1], 8, 30)
    seen = [{step.distribution for step in agent.steps} for agent in plan.agents]
    assert sorted(name for names in seen for name in names) == sorted(p.name for p in packages)
    assert plan == make_plan(packages, 8, 30)


@pytest.mark.parametrize("steps", [10, 60, 500])
def test_steps_have_ids_of_their_own(steps: int) -> None:
    """However many steps are asked for, no two of an agent have the same id."""
    plan = make_plan([package(f"p{i}", *[100] * i) for i in range(12)], 4, steps)
    for agent in plan.agents:
        assert len({step.id for step in agent.steps}) == len(agent.steps)


def test_little_work_is_gone_through_again() -> None:
    """An agent with one package without files still has enough steps to be killed between."""
    plan = make_plan([package("tiny")], 8, 60)
    assert len(plan.agents) == 1
    assert len(plan.agents[0].steps) >= MIN_STEPS


def test_a_step_is_no_more_than_its_share() -> None:
    """Large files are left out, and a step's files are cut off where it has enough."""
    plan = make_plan([package("big", LARGEST_BYTES + 1, *[STEP_BYTES // 2] * 50)], 1, 10)
    files = [step.files for step in plan.agents[0].steps if step.kind == "files"]
    assert files
    assert all(sum(file.size_bytes for file in group) <= STEP_BYTES for group in files)


def test_nothing_installed_is_said() -> None:
    """Without any distribution there is nothing to do, and an error says so."""
    with pytest.raises(HeadwaterError, match="nothing can be audited"):
        make_plan([], 8, 60)


def test_plan_survives_its_file(tmp_path: Path) -> None:
    """What workers read is what was planned, for the distributions that are really here."""
    plan = make_plan(installed_packages(), 3, 20)
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
    assert "pytest" in plan.installed


def test_names_compare_as_indexes_do() -> None:
    """Dots, dashes, underscores and case do not make another distribution."""
    assert normalised("Foo._Bar") == normalised("foo-bar")
