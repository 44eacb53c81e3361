"""What a drill is to show, what it showed, and whether that is good enough; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from headwater.fleet.records import FailureType

NODE_FAILURE = "node-failure"
PARTITION = "partition"
CORRUPTION = "corruption"
SLOW_NODE = "slow-node"
DISK_FULL = "disk-full"
HANDLER_CRASH = "handler-crash"

TYPES: Mapping[str, FailureType] = {
    NODE_FAILURE: FailureType.NODE_FAILURE,
    PARTITION: FailureType.NETWORK_PARTITION,
    CORRUPTION: FailureType.STATE_CORRUPTION,
    SLOW_NODE: FailureType.PERFORMANCE_DEGRADATION,
    DISK_FULL: FailureType.RESOURCE_EXHAUSTION,
    HANDLER_CRASH: FailureType.NODE_FAILURE,
}
"""The drills, and the failure that each must be taken for."""

REAL = (NODE_FAILURE, SLOW_NODE)
"""Those that can be held on a real node as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """How long detection and recovery may take, from when the failure was brought about."""

    detect_ms: float
    recover_ms: float


def default_targets(kind: str, lease_ms: float) -> Targets:
    """What a drill asks for where nobody says otherwise.

    What shows in heartbeats is a matter of leases. A slow node has to be slow for some windows, and
    states are audited at intervals.
    """
    leases: dict[str, tuple[float, float, float, float]] = {
        # (leases, milliseconds) for detection, and for recovery.
        NODE_FAILURE: (2, 1_000, 3, 3_000),
        HANDLER_CRASH: (2, 1_000, 4, 15_000),
        PARTITION: (4, 2_000, 8, 8_000),
        CORRUPTION: (0, 45_000, 0, 90_000),
        SLOW_NODE: (0, 90_000, 0, 180_000),
        DISK_FULL: (0, 20_000, 0, 60_000),
    }
    per_lease, more, per_lease_recovery, more_recovery = leases[kind]
    return Targets(
        detect_ms=per_lease * lease_ms + more,
        recover_ms=per_lease_recovery * lease_ms + more_recovery,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One drill's result. Times are None where what they are about did not happen in time.

    ``detected_ms`` and ``recovered_ms`` count from when the failure was brought about. ``lost``
    and ``doubled`` count changes that were acknowledged, ``repeated`` steps that were begun again,
    because nobody could know that they had been done. ``problems`` says in sentences what is
    missing; ``passed`` is whether there are none.
    """

    drill_id: str
    kind: str
    shadow: bool
    node_id: str
    agents: int
    started_at: int
    targets: Targets
    detected_ms: float | None = None
    recovered_ms: float | None = None
    changes: int = 0
    lost: int = 0
    doubled: int = 0
    repeated: int = 0
    failure_ids: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether every target was met."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "passed": self.passed}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self | None:
        """The other way round; None for what is no report of this release."""
        known = {each.name for each in fields(cls)}
        try:
            given = {name: each for name, each in value.items() if name in known}
            given["targets"] = Targets(**given["targets"])
            for name in ("failure_ids", "problems"):
                given[name] = tuple(given.get(name, ()))
            return cls(**given)
        except (KeyError, TypeError):
            return None


def judge(report: Report) -> tuple[str, ...]:
    """What is wrong with what was measured, a sentence each."""
    wrong = []
    targets = report.targets
    if report.detected_ms is None:
        wrong.append(
            f"no {TYPES[report.kind].value} was detected within {targets.detect_ms:.0f} ms and "
            "some time more: does a detector run (headwater detect)?"
        )
    elif report.detected_ms > targets.detect_ms:
        wrong.append(
            f"detection took {report.detected_ms:.0f} ms, more than {targets.detect_ms:.0f}"
        )
    if report.recovered_ms is None:
        wrong.append(
            f"not every agent was at work again within {targets.recover_ms:.0f} ms and some time "
            "more: do the strategies run (headwater heal)?"
        )
    elif report.recovered_ms > targets.recover_ms:
        wrong.append(
            f"recovery took {report.recovered_ms:.0f} ms, more than {targets.recover_ms:.0f}"
        )
    if report.lost:
        wrong.append(f"{report.lost} acknowledged changes were lost")
    if report.doubled:
        wrong.append(f"{report.doubled} changes were applied twice")
    return tuple(wrong)
