"""DATA_INCONSISTENCY: what an owner, a replica or a snapshot has is not what the log says. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headwater.fleet.records import AgentResult, FailureType

from .finding import Finding
from .timeouts import component_of

SNAPSHOTS = "snapshots"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a node says it has: the hash, in hexadecimal digits, of an agent's state."""

    agent_id: str
    node_id: str
    version: int
    state_hash: str
    replica: bool

    @property
    def subject(self) -> str:
        """Which of an agent's copies it is."""
        return f"replica:{self.node_id}" if self.replica else "owner"


def answers(node_id: str, results: Sequence[AgentResult]) -> Iterator[Answer]:
    """The answers in a node's reply to VERIFY; those without a hash left out."""
    for result in results:
        digest = result.detail.get("hash") or result.detail.get("state_hash")
        if result.ok and digest:
            yield Answer(
                agent_id=result.agent_id,
                node_id=node_id,
                version=result.version,
                state_hash=str(digest),
                replica=bool(result.detail.get("replica", False)),
            )


def agrees(answer: Answer, replayed: Mapping[int, frozenset[str]]) -> bool | None:
    """Whether the log leads to what a node has; ``replayed`` are the hashes of the states that the
    replay came by, by version. None where the replay did not come by that version.
    """
    hashes = replayed.get(answer.version)
    return None if hashes is None else answer.state_hash in hashes


def differing(answer: Answer, replayed: Mapping[int, frozenset[str]], at_ms: int) -> Finding:
    """The finding for a copy that is not what the log leads to."""
    who = f"the replica on {answer.node_id}" if answer.replica else f"its owner {answer.node_id}"
    return Finding(
        type=FailureType.DATA_INCONSISTENCY,
        component=component_of(answer.agent_id),
        subject=answer.subject,
        mark=(answer.node_id, str(answer.version)),
        description=f"agent {answer.agent_id}: {who} has another state at version "
        f"{answer.version} than the log",
        first_symptom_at=at_ms,
        context={
            "agent_id": answer.agent_id,
            "node_id": answer.node_id,
            "replica": answer.replica,
            "version": answer.version,
            "found": answer.state_hash,
            "expected": sorted(replayed[answer.version]),
        },
    )


def unlike_the_log(agent_id: str, version: int, problems: Sequence[str], at_ms: int) -> Finding:
    """The finding for snapshots that prove themselves, and yet are not what the events lead to."""
    return Finding(
        type=FailureType.DATA_INCONSISTENCY,
        component=component_of(agent_id),
        subject=SNAPSHOTS,
        mark=(str(version),),
        description=f"agent {agent_id}: {problems[0]}",
        first_symptom_at=at_ms,
        context={"agent_id": agent_id, "version": version, "problems": list(problems)},
    )
