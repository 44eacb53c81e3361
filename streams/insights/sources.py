"""Who says something: nodes, partitions of the compactor, and recoveries. Pure.

What a source says is counted in panes, a few seconds each. A pane and its source's memory are two
records, written one after the other, and a crash can come between them; so both know what they
have taken in, and a sample that comes again changes nothing twice.
"""

from __future__ import annotations

import msgspec

from .cells import Cell
from .samples import AgentSeen, CommitSample, KindCounts, NodeSample, OutcomeSample

FLEET = "fleet"
_FROM_ITS_BEGINNING = 5
_LIVES = 4
_GAP_MS = 60_000


class Pane(msgspec.Struct, array_like=True):
    """What one source said in one pane. ``entries``: cells by the part of the fleet that they are
    about, for each thing that counts once; for a node, whose counters are differences, there is
    one entry, and ``seen`` has the last sequence of each incarnation. ``late``: something came
    when the pane's own window was over.
    """

    entries: dict[str, dict[str, Cell]] = {}
    seen: dict[str, int] = {}
    late: bool = False


class Life(msgspec.Struct, array_like=True):
    """A node's process as last seen: its counters, and the versions of its agents."""

    sequence: int
    at_ms: int
    kinds: dict[str, KindCounts]
    versions: dict[str, int]


class Memory(msgspec.Struct, array_like=True):
    """What a source's next sample is compared with. ``lives``: by incarnation, the last ones.
    ``start`` and ``pane_ms``: of the compactor's last commit.
    """

    last_ms: int = 0
    lives: dict[str, Life] = {}
    start: int = -1
    pane_ms: int = -1


def components(source: str, part: str) -> tuple[str, ...]:
    """The components to whose metrics what ``source`` says about ``part`` belongs."""
    if not source.startswith("node:"):
        return (part,)
    return (source, FLEET) if part == source else (source, part, FLEET)


def source_of(sample: NodeSample | CommitSample | OutcomeSample) -> str:
    """Whose sample it is."""
    if isinstance(sample, NodeSample):
        return f"node:{sample.node_id}"
    if isinstance(sample, CommitSample):
        return f"compactor:{sample.partition}"
    return "recoveries"


def take_beat(sample: NodeSample, memory: Memory, pane: Pane) -> bool:
    """Count a heartbeat: in what it differs from the one before of the same process. False for
    one that is not newer: what it says is in a newer one already.
    """
    before = memory.lives.get(sample.incarnation)
    if before is not None and sample.sequence <= before.sequence:
        return False
    if pane.seen.get(sample.incarnation, -1) < sample.sequence:
        cells = pane.entries.setdefault("", {})
        _count_beat(sample, before, cells)
        pane.seen[sample.incarnation] = sample.sequence
    # Put last, so that the first is the one that was silent for longest.
    memory.lives.pop(sample.incarnation, None)
    versions = {agent_id: agent.version for agent_id, agent in sample.agents.items()}
    memory.lives[sample.incarnation] = Life(sample.sequence, sample.at_ms, sample.kinds, versions)
    while len(memory.lives) > _LIVES:
        del memory.lives[next(iter(memory.lives))]
    return True


def _count_beat(sample: NodeSample, before: Life | None, cells: dict[str, Cell]) -> None:
    source = f"node:{sample.node_id}"
    own = cells.setdefault(source, Cell())
    # The levels are those of the last beat: a kind that is gone must not leave its own behind.
    for cell in cells.values():
        cell.levels = dict.fromkeys(cell.levels, 0.0)
    for name, value in sample.values.items():
        own.observe(name, value)
    for kind in sorted({*sample.kinds, *(agent.kind for agent in sample.agents.values())}):
        cell = cells.setdefault(f"kind:{kind}", Cell())
        cell.levels = {"states": 0.0, "failing": 0.0}
        _count_kind(sample, before, kind, cell)
    for agent_id, agent in sample.agents.items():
        _count_agent(before, agent_id, agent, cells[f"kind:{agent.kind}"])


def _count_kind(sample: NodeSample, before: Life | None, kind: str, cell: Cell) -> None:
    now = sample.kinds.get(kind, KindCounts())
    was = before.kinds.get(kind, KindCounts()) if before else KindCounts()
    # Counters begin at 0 with the process; of one that is first met later, or was not heard for
    # long, what it did meanwhile belongs into panes long gone.
    if before is None:
        unheard = sample.sequence > _FROM_ITS_BEGINNING
    else:
        unheard = sample.at_ms - before.at_ms > _GAP_MS
    if unheard:
        was = now
    for name in ("steps", "errors", "timeouts"):
        cell.count(name, max(0, getattr(now, name) - getattr(was, name)))
    cell.count("changes", 0)
    for bucket, count in now.latency.items():
        if (more := count - was.latency.get(bucket, 0)) > 0:
            cell.latency[bucket] = cell.latency.get(bucket, 0) + more


def _count_agent(before: Life | None, agent_id: str, agent: AgentSeen, cell: Cell) -> None:
    cell.levels["states"] += 1
    cell.levels["failing"] += agent.failing
    # What an agent did before it came here, its former node has counted.
    version = before.versions.get(agent_id) if before else None
    if version is not None:
        cell.count("changes", max(0, agent.version - version))


def take_commit(sample: CommitSample, memory: Memory, pane: Pane, pane_ms: int) -> int | None:
    """Count a commit of the compactor in the pane that begins at ``pane_ms``; the beginning of
    another one in which it no longer counts, if there is one.

    Whoever takes a partition over begins where the last commit ended that came through; so one
    that was aborted is followed by one with the same start, which takes its place.
    """
    if sample.start < memory.start:
        return None
    replaced = memory.pane_ms if sample.start == memory.start else pane_ms
    cell = Cell(counts=dict(sample.counts), values={"commit_ms": [sample.took_ms]})
    pane.entries[str(sample.start)] = {FLEET: cell}
    memory.start, memory.pane_ms = sample.start, pane_ms
    return replaced if replaced != pane_ms else None


def withdraw(pane: Pane, entry: str) -> None:
    """Count something no longer; its metrics stay, for what was published is to be put right."""
    cells = pane.entries.get(entry, {})
    pane.entries[entry] = {
        part: Cell(counts=dict.fromkeys(cell.counts, 0)) for part, cell in cells.items()
    }


def take_outcome(sample: OutcomeSample, pane: Pane) -> None:
    """Count a recovery, for the fleet and for what it was about."""
    cell = Cell(
        counts={"recoveries": 1, "recoveries_failed": int(not sample.good)},
        values={"recovery_ms": [sample.took_ms]},
    )
    parts = {FLEET}
    if sample.component.startswith(("node:", "kind:")):
        parts.add(sample.component)
    pane.entries[sample.recovery] = dict.fromkeys(sorted(parts), cell)
