"""What shadow agents note of their steps, and what follows from it; pure but for the files."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BEGUN = "begun"
DONE = "done"
SPOILT = "spoilt"
"""A step that made a bad state on purpose: it may be taken back, with what came after it."""


@dataclass(frozen=True, slots=True)
class Note:
    """One line: step ``number`` of an agent began on a node, or was acknowledged there.

    ``at_s`` is on the machine's monotonic clock, which all its processes share.
    """

    what: str
    agent_id: str
    node_id: str
    number: int
    at_s: float


class Notebook:
    """A process's notes, each written at once: SIGKILL loses none."""

    def __init__(self, directory: Path, node_id: str) -> None:
        self._node_id = node_id
        path = directory / f"{node_id}.notes"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, what: str, agent_id: str, number: int) -> None:
        """Write one line."""
        line = json.dumps([what, agent_id, self._node_id, number, time.monotonic()])
        os.write(self._file, line.encode() + b"\n")


def read_notes(directory: Path) -> list[Note]:
    """All notes so far, in the order of their times."""
    notes = []
    for path in directory.glob("*.notes"):
        whole = path.read_bytes().rpartition(b"\n")[0]  # the last line can be half written
        notes += [Note(*json.loads(line)) for line in whole.splitlines()]
    return sorted(notes, key=lambda note: note.at_s)


def at_work_since(
    notes: Iterable[Note], agents: Iterable[str], since_s: float, not_on: str = ""
) -> float | None:
    """When the last of the agents had its first acknowledged step after ``since_s``, on another
    node than ``not_on``; None while one has none.
    """
    first: dict[str, float] = {}
    for note in notes:
        if note.what == DONE and note.at_s >= since_s and note.node_id != not_on:
            first.setdefault(note.agent_id, note.at_s)
    wanted = set(agents)
    return max(first[agent] for agent in wanted) if wanted <= first.keys() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Changes that were acknowledged, those that are not in the states, those that are twice, and
    steps that were begun more than once.
    """

    changes: int
    lost: int
    doubled: int
    repeated: int


def losses(notes: Sequence[Note], states: Mapping[str, Sequence[int]]) -> Losses:
    """Hold the notes against the step numbers that the agents' states list."""
    done: defaultdict[str, set[int]] = defaultdict(set)
    begun: Counter[tuple[str, int]] = Counter()
    spoilt: dict[str, int] = {}
    for note in notes:
        if note.what == DONE:
            done[note.agent_id].add(note.number)
        elif note.what == BEGUN:
            begun[note.agent_id, note.number] += 1
        elif note.what == SPOILT:
            spoilt[note.agent_id] = min(note.number, spoilt.get(note.agent_id, note.number))
    lost = doubled = 0
    for agent_id, numbers in done.items():
        has = Counter(states.get(agent_id, ()))
        end = spoilt.get(agent_id)
        lost += sum(1 for n in numbers if n not in has and (end is None or n < end))
        doubled += sum(count - 1 for count in has.values())
    repeated = sum(
        count - 1
        for (agent_id, number), count in begun.items()
        if agent_id not in spoilt or number < spoilt[agent_id]
    )
    changes = sum(map(len, done.values()))
    return Losses(changes=changes, lost=lost, doubled=doubled, repeated=repeated)
