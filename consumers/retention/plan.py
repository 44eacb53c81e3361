"""What is to go, and why the rest stays: a pure function of what there is, a policy and the time.

The promise: every version younger than the history, every checkpoint, every fork, and whatever a
backup has not copied yet can be had back after the plan was carried out. So

- the chain that the index names stays, and a chain that was replaced stays for as long as one of
  its versions is young enough, or a checkpoint without a state of its own lies in it;
- a record that an ORIGIN names, in whichever partition, stays for as long as that ORIGIN does;
- an increment that another one of its chain has taken in is of no use after a short while;
- events stay back to the first that is young enough, that the compactor or a backup has not read,
  or that a checkpoint needs which snapshots do not lead to. For everything else, snapshots do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .agents import Belongings, Hold, Verdict, judge, reachable
from .chains import held
from .model import Holdings, Marked, Place, State, Stored
from .policy import Policy
from .ranges import count, minus

SNAPSHOTS, CHECKPOINTS = "snapshots", "checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Records that go together: of ``topic``, their keys, and their bytes. ``version`` is the
    newest that they lead to, ``places`` the offsets that an ORIGIN could name.
    """

    topic: str
    agent_id: str
    keys: tuple[bytes, ...]
    size: int
    version: int
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """Events of one agent below a partition's low-water mark, and the last one's offset."""

    records: int
    size: int
    last: int


@dataclass(slots=True)
class AgentPlan:
    """What one agent loses: records and bytes of each topic, versions that can no longer be had
    back, and the ids of checkpoints.
    """

    records: int = 0
    size: int = 0
    events: int = 0
    events_size: int = 0
    points: int = 0
    checkpoints: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class PartitionPlan:
    """What is to be done in one partition. ``low_water``: the first offset of events that stays,
    which is never below ``events_start``, where they start now; ``because`` says what it waits for.
    """

    partition: int
    drops: list[Drop] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    events_start: int = 0
    low_water: int = 0
    because: str = ""


@dataclass(slots=True, kw_only=True)
class Plan:
    """What is to be done. ``reasons``: how many snapshots stay for which; ``overdue``: agents
    whose checkpoints keep events beyond the history.
    """

    partitions: list[PartitionPlan]
    agents: dict[str, AgentPlan] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    overdue: list[str] = field(default_factory=list)

    @property
    def total(self) -> AgentPlan:
        """The agents' figures together."""
        total = AgentPlan()
        for each in self.agents.values():
            total.records += each.records
            total.size += each.size
            total.events += each.events
            total.events_size += each.events_size
            total.points += each.points
            total.checkpoints += each.checkpoints
        return total


def make_plan(
    fleet: Iterable[Holdings],
    policy: Policy,
    now_ms: int,
    cannot: frozenset[bytes] = frozenset(),
) -> Plan:
    """The plan for all partitions at ``now_ms`` (milliseconds since 1970).

    All of them, for a fork keeps records of another partition. ``cannot``: keys of checkpoints
    that are to be taken as they are, because their state could not be had. :func:`count_losses`
    completes it.
    """
    found = list(fleet)
    belongings = [_by_agent(each) for each in found]
    verdicts = [
        {name: judge(agent, policy, now_ms, cannot) for name, agent in agents.items()}
        for agents in belongings
    ]
    _keep_bases(found, verdicts)
    plan = Plan(partitions=[])
    for holdings, agents, judged in zip(found, belongings, verdicts, strict=True):
        part = PartitionPlan(partition=holdings.partition, events_start=holdings.events_start)
        for name, verdict in judged.items():
            part.drops += _drops(holdings, agents[name], verdict)
            part.holds += verdict.holds
            for reason in verdict.keep.values():
                plan.reasons[reason] = plan.reasons.get(reason, 0) + 1
        _low_water(plan, part, holdings, judged)
        plan.partitions.append(part)
    _sum_up(plan)
    return plan


def _by_agent(holdings: Holdings) -> dict[str, Belongings]:
    agents: dict[str, Belongings] = {}

    def of(name: str) -> Belongings:
        if name not in agents:
            agents[name] = Belongings(agent_id=name, entry=holdings.index.get(name))
        return agents[name]

    for record in holdings.snapshots.values():
        of(record.agent_id).snapshots.append(record)
    for checkpoint in holdings.checkpoints.values():
        of(checkpoint.agent_id).checkpoints.append(checkpoint)
    for state in holdings.states.values():
        of(state.agent_id).states.append(state)
    return agents


def _keep_bases(fleet: Iterable[Holdings], verdicts: Iterable[dict[str, Verdict]]) -> None:
    """Keep what forks refer to, and what that refers to in turn."""
    at: dict[Place, tuple[Stored, Verdict]] = {}
    waiting: list[Place] = []
    for holdings, judged in zip(fleet, verdicts, strict=True):
        waiting += holdings.origins
        for record in holdings.snapshots.values():
            verdict = judged[record.agent_id]
            at[holdings.partition, record.offset] = record, verdict
            if record.key in verdict.keep:
                waiting += record.base
    while waiting:
        found = at.get(waiting.pop())
        if found is not None and found[0].key not in found[1].keep:
            found[1].keep[found[0].key] = "fork"
            waiting += found[0].base


def _drops(holdings: Holdings, agent: Belongings, verdict: Verdict) -> list[Drop]:
    pin = holdings.backup
    drops = []
    live = {checkpoint.checkpoint_id for checkpoint in verdict.live.values()}
    records: tuple[Marked | State, ...] = (*agent.checkpoints, *agent.states)
    for record in records:
        if record.checkpoint_id in live or (pin is not None and record.offset >= pin.checkpoints):
            continue
        drops.append(
            Drop(
                topic=CHECKPOINTS,
                agent_id=agent.agent_id,
                keys=(record.key,),
                size=record.size,
                version=record.version,
            )
        )
    for stored in agent.snapshots:
        if stored.key in verdict.keep:
            continue
        if pin is not None and stored.offset >= pin.snapshots:
            verdict.keep[stored.key] = "backup"
            continue
        chunks = holdings.chunks.get(stored.key, {})
        drops.append(
            Drop(
                topic=SNAPSHOTS,
                agent_id=agent.agent_id,
                keys=(stored.key.encode(), *(key.encode() for key in chunks)),
                size=stored.size + sum(chunks.values()),
                version=stored.to_version,
                places=((holdings.partition, stored.offset),),
            )
        )
    return drops


def _low_water(
    plan: Plan, part: PartitionPlan, holdings: Holdings, judged: Mapping[str, Verdict]
) -> None:
    limits = [(holdings.young, "history"), (holdings.position, "compactor")]
    if holdings.backup is not None:
        limits.append((holdings.backup.events, "backup"))
    lowest = min(limits)
    for name, verdict in judged.items():
        if verdict.needs is not None and verdict.needs < lowest[0]:
            if verdict.stuck:
                plan.overdue.append(name)
            limits.append((verdict.needs, f"a checkpoint of agent {name!r}"))
    offset, part.because = min(limits)
    part.low_water = max(offset, holdings.events_start)


def _sum_up(plan: Plan) -> None:
    for part in plan.partitions:
        for drop in part.drops:
            agent = plan.agents.setdefault(drop.agent_id, AgentPlan())
            agent.records += len(drop.keys)
            agent.size += drop.size


def count_losses(
    plan: Plan, fleet: Iterable[Holdings], deleted: Mapping[int, Mapping[str, Deleted]]
) -> None:
    """Add to the plan which versions and checkpoints it takes away, and the events' bytes.

    ``deleted``: by partition and agent id, the events below the low-water mark; without, what
    events lead to is not counted.
    """
    for part, holdings in zip(plan.partitions, fleet, strict=True):
        events = deleted.get(part.partition)
        agents = _by_agent(holdings)
        for name in (events or {}).keys() - agents.keys():
            agents[name] = Belongings(agent_id=name, entry=holdings.index.get(name))
        going: dict[str, set[bytes]] = {}
        for drop in part.drops:
            going.setdefault(drop.agent_id, set()).update(drop.keys)
        for name in sorted(going.keys() | (events or {}).keys()):
            lost = None if events is None else events.get(name)
            one = plan.agents.setdefault(name, AgentPlan())
            _count_agent(one, part, agents[name], going.get(name, set()), events is not None, lost)


def _count_agent(
    plan: AgentPlan,
    part: PartitionPlan,
    agent: Belongings,
    going: set[bytes],
    measured: bool,
    deleted: Deleted | None,
) -> None:
    version = agent.entry.version if agent.entry is not None else 0
    whole = measured and part.events_start == 0
    before = reachable(
        agent.snapshots,
        held(agent.snapshots),
        version,
        whole,
        part.events_start if measured else None,
    )
    kept = [r for r in agent.snapshots if r.key.encode() not in going]
    new = [h.checkpoint.version for h in part.holds if h.checkpoint.agent_id == agent.agent_id]
    since = None
    if measured:
        since = part.events_start if deleted is None else deleted.last + 1
    after = reachable(kept, [*held(kept), *new], version, whole and deleted is None, since)
    plan.points += count(minus(before, after))
    plan.checkpoints += sorted(
        c.checkpoint_id for c in agent.checkpoints if c.key in going and not c.deleted
    )
    if deleted is not None:
        plan.events += deleted.records
        plan.events_size += deleted.size
