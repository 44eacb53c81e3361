"""What a step finds, and what it leaves in the state."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from headwater.demo.audit import SESSION, apply, perform, uninterrupted
from headwater.demo.plan import AgentPlan, FileEntry, Package, Plan, Step, make_plan
from headwater.state.draft import Recorder
from headwater.state.model import new_document, state_hash


def entry(path: Path, content: bytes) -> FileEntry:
    """A file with this content, and its line in RECORD."""
    path.write_bytes(content)
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return FileEntry(str(path), f"sha256={digest}", len(content))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan for one agent and one distribution with two files."""
    info = tmp_path / "thing-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: thing\nVersion: 2.0\nLicense-Expression: MIT\n"
        "Requires-Python: >=3.11\nRequires-Dist: other>=1\nRequires-Dist: lacking\n"
        "Requires-Dist: extra; extra == 'x'\n"
    )
    files = (
        entry(tmp_path / "one.py", b'def f():\n    """Documented."""\n    eval("1")\n'),
        entry(tmp_path / "two.py", b"def g(:\n"),
    )
    thing = Package(name="thing", version="2.0", folder=str(tmp_path), files=files)
    other = {"thing": "2.0", "other": "1.1"}
    return Plan(installed=other, agents=make_plan([thing], 1, 10).agents)


def step_of(plan: AgentPlan, kind: str) -> Step:
    """The plan's first step of a kind."""
    return next(step for step in plan.steps if step.kind == kind)


def test_files_are_verified(plan: Plan) -> None:
    """A file that was changed and one that is gone are found; the rest is verified and read."""
    agent = plan.agents[0]
    files = tuple(file for step in agent.steps[:4] for file in step.files)
    step = Step(id="x", kind="files", distribution="thing", folder="/", files=files)
    sound = perform(step, plan.installed)
    assert sound["verified"] == len(files) == 2
    assert sound["problems"] == []
    assert sound["risks"] == {"eval": 1}
    assert sound["code"] == {"lines": 4, "definitions": 1, "documented": 1, "unreadable": 1}
    Path(files[0].path).write_bytes(b"changed")
    Path(files[1].path).unlink()
    assert perform(step, plan.installed)["problems"] == [
        "one.py is not as it was installed",
        "two.py is missing",
    ]


def test_metadata_and_dependencies_are_read(plan: Plan) -> None:
    """Licence and version are found, and the dependency that is not installed."""
    agent = plan.agents[0]
    found = perform(step_of(agent, "metadata"), plan.installed)
    assert (found["version"], found["licence"], found["problems"]) == ("2.0", "MIT", [])
    needs = perform(step_of(agent, "dependencies"), plan.installed)
    assert needs["needs"] == {"other": "1.1", "lacking": ""}
    assert needs["conditional"] == 1
    assert needs["problems"] == ["needs lacking, which is not installed"]


def test_drafts_and_plain_states_end_alike(plan: Plan) -> None:
    """The same steps through recorded drafts give the state of the uninterrupted run."""
    agent = plan.agents[0]
    recorder = Recorder(new_document())
    recorder.view.session_id = SESSION
    for number, step in enumerate(agent.steps):
        apply(recorder.view, agent, number, perform(step, plan.installed))
    calm = uninterrupted(agent, plan.installed)
    assert calm.status == "finished"
    assert calm.step == calm.max_steps == len(calm.execution_history) == len(agent.steps)
    calm_hash = state_hash(agent.agent_id, calm.to_document())
    assert state_hash(agent.agent_id, recorder.document) == calm_hash
