"""What of one agent stays, decided from its own records alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .chains import Chain, chains_of, held, redundant
from .model import GOING_ORDER, HELD, UNREADABLE, Indexed, Marked, State, Stored
from .policy import Policy
from .ranges import Range, union


@dataclass(slots=True, kw_only=True)
class Belongings:
    """What there is of one agent."""

    agent_id: str
    entry: Indexed | None = None
    snapshots: list[Stored] = field(default_factory=list)
    checkpoints: list[Marked] = field(default_factory=list)
    states: list[State] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A checkpoint that is to get a state of its own: from ``held``, the record that another one
    of that version has already, or else from the snapshots of ``path``, whose last may lead beyond
    the version; where that is empty, from events.
    """

    checkpoint: Marked
    path: tuple[Stored, ...]
    held: Stored | None = None


@dataclass(slots=True)
class Verdict:
    """What stays of one agent; whatever is in neither ``keep`` nor ``live`` goes.

    ``keep``: snapshots by key, with the reason; ``live``: the keys of the checkpoints that stay,
    ``held`` those among them that have a state of their own, once ``holds`` are done. ``needs``:
    the offset of events from which on a checkpoint needs them; ``stuck``: one of them could not be
    given a state of its own.
    """

    keep: dict[str, str] = field(default_factory=dict)
    live: dict[bytes, Marked] = field(default_factory=dict)
    held: set[bytes] = field(default_factory=set)
    holds: list[Hold] = field(default_factory=list)
    needs: int | None = None
    stuck: bool = False


def judge(agent: Belongings, policy: Policy, now_ms: int, cannot: frozenset[bytes]) -> Verdict:
    """What stays of an agent at ``now_ms``. ``cannot``: keys of checkpoints whose state could not
    be had.
    """
    verdict = Verdict()
    chains = chains_of(agent.snapshots)
    _keep_checkpoints(agent, chains, policy, now_ms, cannot, verdict)
    for chain, end in zip(chains, _ends(agent, chains), strict=True):
        _keep_chain(agent, chain, end, policy, now_ms, verdict)
    for record in agent.snapshots:
        if record.kind == UNREADABLE:
            verdict.keep[record.key] = "unreadable"
    _keep_listed(agent, policy, now_ms, verdict)
    _pin(agent, chains, verdict)
    return verdict


def _keep_checkpoints(
    agent: Belongings,
    chains: Sequence[Chain],
    policy: Policy,
    now_ms: int,
    cannot: frozenset[bytes],
    verdict: Verdict,
) -> None:
    for checkpoint in staying(agent.checkpoints, policy, now_ms):
        verdict.live[checkpoint.key] = checkpoint
    states = {state.checkpoint_id: state for state in agent.states}
    by_version = held(agent.snapshots)
    for key, checkpoint in verdict.live.items():
        state, record = states.get(checkpoint.checkpoint_id), by_version.get(checkpoint.version)
        if state is not None and record is not None and state.offset == record.offset:
            verdict.held.add(key)
        elif key not in cannot and (
            record is not None
            or checkpoint.self_contained
            or now_ms - checkpoint.made_at >= policy.compress_after_ms
        ):
            path = _path(chains, checkpoint.version)
            verdict.holds.append(Hold(checkpoint=checkpoint, path=path, held=record))
            verdict.held.add(key)
        verdict.stuck |= key in cannot
    versions = {verdict.live[key].version for key in verdict.held}
    for version, record in by_version.items():
        if version in versions:
            verdict.keep[record.key] = "checkpoint"


def staying(checkpoints: Iterable[Marked], policy: Policy, now_ms: int) -> list[Marked]:
    """The checkpoints of one agent that stay, oldest first.

    Too old ones go, and too many: automatic ones first, milestones and those that somebody asked
    for last, of one kind the oldest first. The newest of all never goes by number.
    """
    live = [
        c
        for c in sorted(checkpoints, key=lambda c: (c.sequence, c.made_at, c.offset))
        if not c.deleted and now_ms - c.made_at < policy.checkpoints_keep_ms
    ]
    surplus = len(live) - policy.checkpoints_max
    if surplus > 0:
        going = sorted(live[:-1], key=lambda c: GOING_ORDER[c.type])[:surplus]
        gone = {c.key for c in going}
        live = [c for c in live if c.key not in gone]
    return live


def _ends(agent: Belongings, chains: Sequence[Chain]) -> list[int | None]:
    """When each chain was replaced, in milliseconds; None for one that is in use, or may be."""
    entry = agent.entry
    ends: list[int | None] = []
    for number, chain in enumerate(chains):
        following = chains[number + 1].begin if number + 1 < len(chains) else None
        if entry is None or any(r.offset in entry.offsets for r in chain.records):
            ends.append(None)
        elif following is not None:
            ends.append(following.written_at)
        else:
            # Nothing replaced it that is known here. Either the agent was deleted, or what did is
            # newer than the snapshots that were read.
            ends.append(None if entry.offsets else entry.written_at)
    return ends


def _keep_chain(
    agent: Belongings,
    chain: Chain,
    end: int | None,
    policy: Policy,
    now_ms: int,
    verdict: Verdict,
) -> None:
    if end is not None and now_ms - end >= policy.history_ms:
        return
    merged = redundant(chain)
    listed = agent.entry.offsets if agent.entry is not None else ()
    for record in chain.records:
        cover = merged.get(record.key)
        if cover is None or record.offset in listed:
            verdict.keep[record.key] = "current" if end is None else "history"
            continue
        # Where versions cannot be told apart in the one, the other is more than a copy.
        stays_ms = policy.grace_ms if cover.exact else policy.history_ms
        if now_ms - cover.written_at < stays_ms:
            verdict.keep[record.key] = "grace"


def _keep_listed(agent: Belongings, policy: Policy, now_ms: int, verdict: Verdict) -> None:
    newest: dict[str, int] = {}
    for record in sorted(agent.snapshots, key=lambda r: (-r.to_version, -r.offset)):
        if record.kind in (HELD, UNREADABLE):
            continue
        number = newest[record.session_id] = newest.get(record.session_id, 0) + 1
        if number <= policy.listed and now_ms - record.written_at < policy.history_ms:
            verdict.keep.setdefault(record.key, "listed")


def _pin(agent: Belongings, chains: Sequence[Chain], verdict: Verdict) -> None:
    """Keep what checkpoints need that have no state of their own."""
    for key, checkpoint in verdict.live.items():
        if key in verdict.held:
            continue
        place = _place(chains, checkpoint.version)
        if place is not None:
            merged = redundant(chains[place])
            # Whoever looks for it goes from the index backwards, from chain to chain.
            stones = [c.begin for c in chains[place + 1 :] if c.begin is not None]
            needed = [r for r in chains[place].records if r.key not in merged]
            for record in (*needed, *_path(chains, checkpoint.version), *stones):
                verdict.keep.setdefault(record.key, "checkpoint")
        if not _path(chains, checkpoint.version):
            since = _before(chains, checkpoint.version)
            verdict.needs = since if verdict.needs is None else min(since, verdict.needs)


def _place(chains: Sequence[Chain], version: int) -> int | None:
    found = None
    for number, chain in enumerate(chains):
        if chain.begin is not None and chain.begin.from_version <= version:
            found = number
    return found


def _path(chains: Sequence[Chain], version: int) -> tuple[Stored, ...]:
    place = _place(chains, version)
    if place is None:
        return ()
    chain = chains[place]
    merged = redundant(chain)
    newest = Chain(chain.begin, [r for r in chain.increments if r.key not in merged])
    return newest.path(version) or chain.path(version)


def _before(chains: Sequence[Chain], version: int) -> int:
    """Offset of events from which on they lead to ``version``; 0 where no snapshot helps."""
    offsets = [
        path[-1].events_offset
        for chain in chains
        for end, path in chain.steps().items()
        if end <= version
    ]
    return max(offsets, default=0)


def reachable(
    records: Iterable[Stored],
    checkpoints: Iterable[int],
    version: int,
    whole: bool,
    since: int | None,
) -> list[Range]:
    """The versions of an agent that can be had back: from its snapshots, from the states of
    ``checkpoints``, and, up to ``version``, from events.

    ``whole``: all its events are there; ``since``: those from that offset on are, None for none.
    """
    records = list(records)
    chains = chains_of(records)
    found = [each for chain in chains for each in chain.versions()]
    found += [(held_version, held_version) for held_version in checkpoints]
    ends = {
        end
        for chain in chains
        for end, path in chain.steps().items()
        if since is not None and path[-1].events_offset >= since
    }
    if whole:
        found.append((1, version))
    elif ends:
        found.append((min(ends), version))
    return [(max(low, 1), high) for low, high in union(found) if high >= 1]
