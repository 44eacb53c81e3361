"""The work itself: what a step looks at, and what it leaves in the agent's state.

:func:`perform` reads files, :func:`apply` changes the state. Neither looks at clocks, process ids
or randomness, so whoever does the same step writes the same state.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import re
import threading
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from headwater.demo.plan import AgentPlan, FileEntry, Step, normalised
from headwater.state.draft import StateView
from headwater.state.model import AgentState

SESSION = "audit"
"""Every agent's session id: part of the state, and so the same in every run."""

Finding = dict[str, Any]

_PARSED_BYTES = 24 << 10
"""As much source is parsed in one step, file by file: parsing keeps other threads waiting."""

# Python 3.11 miscounts its recursion when two threads make syntax trees, and raises SystemError.
_parsing = threading.Lock()

_RISKS = re.compile(rb"\b(eval|exec|os\.system|pickle\.loads?|shell=True|verify=False)\b")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def perform(step: Step, installed: Mapping[str, str]) -> Finding:
    """Do the step's reading; what was found has only strings, numbers, lists and maps in it."""
    if step.kind == "files":
        return _look_at_files(step.files)
    (distribution, *_) = metadata.distributions(name=step.distribution, path=[step.folder])
    if step.kind == "metadata":
        return _look_at_metadata(distribution)
    return _look_at_dependencies(distribution, installed)


def _look_at_metadata(distribution: metadata.Distribution) -> Finding:
    fields = distribution.metadata
    licence = (
        (fields["License-Expression"] or "")
        or _classified(fields.get_all("Classifier") or [])
        or (fields["License"] or "").partition("\n")[0][:60]
    )
    scripts = [entry for entry in distribution.entry_points if entry.group == "console_scripts"]
    problems = [] if licence else ["names no licence"]
    if not fields["Requires-Python"]:
        problems.append("does not say which Python it needs")
    return {
        "version": distribution.version,
        "licence": licence or "unknown",
        "entry_points": len(distribution.entry_points),
        "scripts": sorted(entry.name for entry in scripts),
        "problems": problems,
    }


def _classified(classifiers: list[str]) -> str:
    named = [text for text in classifiers if text.startswith("License ::")]
    return named[0].rpartition(" :: ")[2] if named else ""


def _look_at_files(files: tuple[FileEntry, ...]) -> Finding:
    verified, size_bytes = 0, 0
    problems: list[str] = []
    risks: dict[str, int] = {}
    sources: list[bytes] = []
    for file in files:
        path = Path(file.path)
        try:
            content = path.read_bytes()
        except OSError:
            problems.append(f"{path.name} is missing")
            continue
        size_bytes += len(content)
        if _digest(content) == file.digest:
            verified += 1
        else:
            problems.append(f"{path.name} is not as it was installed")
        if path.suffix == ".py":
            sources.append(content)
            for match in _RISKS.finditer(content):
                word = match[1].decode()
                risks[word] = risks.get(word, 0) + 1
    return {
        "files": len(files),
        "verified": verified,
        "size_bytes": size_bytes,
        "risks": risks,
        "code": _look_at_code(sources),
        "problems": problems,
    }


def _look_at_code(sources: list[bytes]) -> dict[str, int]:
    """How much of the code is documented, as far as ``_PARSED_BYTES`` reach."""
    counts = {"lines": 0, "definitions": 0, "documented": 0, "unreadable": 0}
    left = _PARSED_BYTES
    for source in sources:
        if len(source) > left:
            continue
        left -= len(source)
        counts["lines"] += source.count(b"\n")
        try:
            with _parsing:
                tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            counts["unreadable"] += 1
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                counts["definitions"] += 1
                counts["documented"] += ast.get_docstring(node, clean=False) is not None
    return counts


def _digest(content: bytes) -> str:
    digest = hashlib.sha256(content).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _look_at_dependencies(
    distribution: metadata.Distribution, installed: Mapping[str, str]
) -> Finding:
    needs: dict[str, str] = {}
    conditional = 0
    for requirement in distribution.requires or []:
        name = _NAME.match(requirement)
        if ";" in requirement or name is None:
            conditional += 1
        else:
            needs[normalised(name[0])] = installed.get(normalised(name[0]), "")
    return {
        "needs": needs,
        "conditional": conditional,
        "problems": [f"needs {name}, which is not installed" for name in needs if not needs[name]],
    }


def apply(state: StateView | AgentState, plan: AgentPlan, number: int, finding: Finding) -> None:
    """Note in ``state`` that step ``number`` of ``plan`` (from 0) was done, and what it found."""
    step = plan.steps[number]
    if number == 0:
        state.task = f"audit {len({each.distribution for each in plan.steps})} distributions"
        state.max_steps = len(plan.steps)
        state.data["findings"] = {}
        state.data["totals"] = dict.fromkeys(("files", "verified", "size_bytes", "problems"), 0)
    findings = state.data["findings"]
    if step.distribution not in findings:
        findings[step.distribution] = {}
    findings[step.distribution][step.id.partition("/")[2]] = finding
    totals = state.data["totals"]
    for name in ("files", "verified", "size_bytes"):
        totals[name] += finding.get(name, 0)
    totals["problems"] += len(finding["problems"])
    state.messages.append({"role": "tool", "name": step.kind, "content": _say(step, finding)})
    evidence = hashlib.sha256(msgspec.json.encode(finding, order="sorted")).hexdigest()
    state.execution_history.append({"step": step.id, "evidence": evidence})
    state.step = number + 1
    finished = state.step == len(plan.steps)
    state.status = "finished" if finished else f"auditing {step.distribution}"


def _say(step: Step, finding: Finding) -> str:
    problems = "; ".join(finding["problems"]) or "nothing wrong"
    if step.kind == "metadata":
        return f"{step.distribution} {finding['version']}, {finding['licence']}: {problems}"
    if step.kind == "files":
        count = f"{finding['verified']} of {finding['files']} files verified"
        return f"{step.distribution}: {count}: {problems}"
    return f"{step.distribution} needs {len(finding['needs'])} others: {problems}"


def uninterrupted(plan: AgentPlan, installed: Mapping[str, str]) -> AgentState:
    """The state after all steps, done in this process one after the other, without Kafka."""
    state = AgentState(plan.agent_id, session_id=SESSION)
    for number, step in enumerate(plan.steps):
        apply(state, plan, number, perform(step, installed))
    return state
