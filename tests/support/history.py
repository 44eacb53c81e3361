"""What a workload did, by its own record, and what must therefore be recovered.

Every change appends ``[writer, n, payload]`` to its agent's messages, where a writer is one owner's
session and ``n`` counts its changes from 1. Writers note in a file of their own what they are about
to do (``try``) and, once they were told so, what is done (``ack``). Nothing here folds anything: a
state is rebuilt, in plain Python, from the list of its own entries, after that list was held
against the notes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headwater import Recovered
from headwater.state.model import Document, state_hash

SESSION = "workload"


def payload(writer: str, n: int) -> str:
    """What change ``n`` of a writer carries: 20 to 400 characters that follow from the two."""
    seed = hashlib.sha256(f"{writer}/{n}".encode()).hexdigest()
    return (seed * 7)[: 20 + int(seed[:4], 16) % 380]


class Notes:
    """A writer's record, kept outside of Kafka; SIGKILL loses none of it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, what: str, agent: str, writer: str, n: int = 0) -> None:
        """Write one line at once."""
        os.write(self._file, json.dumps([what, agent, writer, n]).encode() + b"\n")


@dataclass(slots=True)
class Record:
    """Of each agent and writer, the last change that was tried and the last acknowledged one.

    ``session`` is the session of the states; None where the writers did not choose it.
    ``rewritten``: how often an agent's state was written again as a whole, by a repair: that is a
    version each, and changes nothing.
    """

    session: str | None = SESSION
    tried: dict[tuple[str, str], int] = field(default_factory=dict)
    acked: dict[tuple[str, str], int] = field(default_factory=dict)
    fenced: set[tuple[str, str]] = field(default_factory=set)
    rewritten: dict[str, int] = field(default_factory=dict)
    acks: int = 0
    _read: dict[Path, int] = field(default_factory=dict)

    def read(self, directory: Path) -> Record:
        """Take in what has been added to the notes of a directory; returns itself."""
        for path in directory.glob("*.notes"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                # The last line can be half written.
                whole = file.read().rpartition(b"\n")[0]
            for line in whole.splitlines():
                self._take(*json.loads(line))
            if whole:
                self._read[path] = self._read.get(path, 0) + len(whole) + 1
        return self

    def _take(self, what: str, agent: str, writer: str, n: int) -> None:
        if what == "try":
            self.tried[agent, writer] = max(n, self.tried.get((agent, writer), 0))
        elif what == "ack":
            self.acked[agent, writer] = max(n, self.acked.get((agent, writer), 0))
            self.acks += 1
        elif what == "fenced":
            self.fenced.add((agent, writer))

    def acked_by(self, agent: str) -> dict[str, int]:
        """The last acknowledged change of each writer of an agent."""
        return {writer: n for (name, writer), n in self.acked.items() if name == agent}


def rebuild(agent: str, entries: Iterable[list[Any]], session: str = SESSION) -> Document:
    """The document that these entries, each applied once and in this order, lead to."""
    messages = [list(entry) for entry in entries]
    counts = {writer: n for writer, n, _ in messages}
    return {
        "session_id": session,
        "request_id": None,
        "status": "working",
        "step": len(messages),
        "max_steps": None,
        "task": None,
        "data": counts,
        "messages": messages,
        "execution_history": [],
        "tool_contexts": {},
        "metadata": {},
    }


def violations(record: Record, found: Recovered) -> list[str]:
    """What is wrong with a recovered agent; empty if every promise was kept."""
    agent, entries = found.agent_id, found.state.messages
    wrong = [f"entry {e!r}" for e in entries if not _whole(e)]
    if wrong:
        return [f"{agent}: not whole: {wrong[0][:200]}"]
    wrong += _disorder(agent, entries)
    last = {writer: n for writer, n, _ in entries}
    for writer, n in record.acked_by(agent).items():
        if last.get(writer, 0) < n:
            wrong.append(f"{agent}: lost: {writer} was told that {n} is done, recovered {last}")
    for writer, n in last.items():
        if n > record.tried.get((agent, writer), 0):
            wrong.append(f"{agent}: invented: {writer} never tried {n}")
    rewritten = record.rewritten.get(agent, 0)
    if found.version != len(entries) + rewritten:
        wrong.append(
            f"{agent}: version {found.version} after {len(entries)} changes, rewritten {rewritten}"
        )
    if found.inapplicable:
        wrong.append(f"{agent}: {found.inapplicable} patches did not apply")
    session = record.session or found.state.session_id
    if found.state_hash != state_hash(agent, rebuild(agent, entries, session)):
        wrong.append(f"{agent}: its hash is not that of its own changes")
    return wrong


def _whole(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 3 and entry[2] == payload(entry[0], entry[1])


def _disorder(agent: str, entries: list[Any]) -> list[str]:
    """Each writer's changes must be 1, 2, 3 ... in one piece."""
    ended: set[str] = set()
    now, count = None, 0
    for writer, n, _ in entries:
        if writer != now:
            if writer in ended:
                return [f"{agent}: {writer} came back after another writer"]
            if now is not None:
                ended.add(now)
            now, count = writer, 0
        count += 1
        if n != count:
            return [f"{agent}: change {n} of {writer} stands where {count} should"]
    return []


def all_violations(record: Record, found: Iterable[Any], agents: Iterable[str]) -> list[str]:
    """The same for a whole fleet, of which nobody may be missing."""
    wrong, seen = [], set()
    for each in found:
        if isinstance(each, Recovered):
            seen.add(each.agent_id)
            wrong += violations(record, each)
        else:
            wrong.append(f"{each.agent_id}: {each.error}")
    missing = [a for a in agents if a not in seen and record.acked_by(a)]
    return wrong + [f"{agent}: lost altogether" for agent in missing]
