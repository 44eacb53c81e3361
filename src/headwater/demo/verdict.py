"""What became of each agent: recovered state against the workers' own record and a calm run.

Nothing here trusts the fold: ``lost`` and ``repeated`` compare what workers were told with what the
state lists, and the hash to compare with comes from doing the steps without Kafka.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from headwater.demo.direct import Kill, Ledger
from headwater.demo.plan import AgentPlan
from headwater.demo.record import Seen
from headwater.recovery import Recovered
from headwater.state.model import AgentState, state_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One agent's result.

    ``steps`` are those that its state lists, each counted once, of ``planned``; ``restarted`` were
    begun by the killed worker and again by another one, ``repeated`` committed more than once,
    ``lost`` acknowledged to a worker and are not in the state. ``recovery_ms`` is the time from the
    SIGKILL to the first step that was committed elsewhere, None for agents of other workers.
    """

    id: str
    steps: int
    planned: int
    restarted: int
    repeated: int
    lost: int
    recovery_ms: float | None
    hash_equal: bool

    @property
    def good(self) -> bool:
        """Whether all is as it would have been without any kill."""
        whole = self.steps == self.planned and self.hash_equal
        return whole and not self.repeated and not self.lost


def judge(
    plan: AgentPlan, ledger: Ledger, recovered: Recovered | None, calm: AgentState
) -> Verdict:
    """Compare an agent's recovered state (None: there is none) with the record and a calm run."""
    own = [seen for seen in ledger.seen if seen.event.agent == plan.agent_id]
    kill = next((each for each in ledger.kills if plan.agent_id in each.agents), None)
    history = _history(recovered.state) if recovered else []
    committed = Counter(history)
    acknowledged = {seen.event.step for seen in own if seen.event.kind == "ack"}
    return Verdict(
        id=plan.agent_id,
        steps=len(committed),
        planned=len(plan.steps),
        restarted=len(_begun_again(own, kill)) if kill else 0,
        repeated=len(history) - len(committed),
        lost=len(acknowledged - committed.keys()),
        recovery_ms=_recovery_ms(own, kill) if kill else None,
        hash_equal=recovered is not None and recovered.state_hash == hash_of(calm),
    )


def _history(state: AgentState) -> list[str]:
    return [entry["step"] for entry in state.execution_history]


def hash_of(state: AgentState) -> bytes:
    """SHA-256 of a state, 32 bytes."""
    return state_hash(state.agent_id, state.to_document())


def _begun_again(own: Sequence[Seen], kill: Kill) -> set[str]:
    begun = [seen for seen in own if seen.event.kind == "begin"]
    by_victim = {seen.event.step for seen in begun if seen.worker == kill.worker}
    return by_victim & {seen.event.step for seen in begun if seen.worker != kill.worker}


def _recovery_ms(own: Sequence[Seen], kill: Kill) -> float | None:
    for seen in own:
        if seen.event.kind == "ack" and seen.worker != kill.worker and seen.at_s > kill.at_s:
            return round((seen.at_s - kill.at_s) * 1000, 1)
    return None
