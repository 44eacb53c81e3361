"""The words that the fleet's records use: types of failure, and states of what they are about."""

from __future__ import annotations

from enum import StrEnum


class FailureType(StrEnum):
    """What kind of thing went wrong."""

    NODE_FAILURE = "NODE_FAILURE"
    NETWORK_PARTITION = "NETWORK_PARTITION"
    STATE_CORRUPTION = "STATE_CORRUPTION"
    PERFORMANCE_DEGRADATION = "PERFORMANCE_DEGRADATION"
    RESOURCE_EXHAUSTION = "RESOURCE_EXHAUSTION"
    TIMEOUT = "TIMEOUT"
    DATA_INCONSISTENCY = "DATA_INCONSISTENCY"


class Severity(StrEnum):
    """How much it matters."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


DEFAULT_SEVERITY = {
    FailureType.NODE_FAILURE: Severity.HIGH,
    FailureType.NETWORK_PARTITION: Severity.HIGH,
    FailureType.STATE_CORRUPTION: Severity.CRITICAL,
    FailureType.PERFORMANCE_DEGRADATION: Severity.MEDIUM,
    FailureType.RESOURCE_EXHAUSTION: Severity.HIGH,
    FailureType.TIMEOUT: Severity.MEDIUM,
    FailureType.DATA_INCONSISTENCY: Severity.HIGH,
}


class NodeMode(StrEnum):
    """What a process does with its agents; CLIENT is one without a node runtime."""

    CLIENT = "CLIENT"
    RUNNING = "RUNNING"
    DRAINING = "DRAINING"
    READ_ONLY = "READ_ONLY"
    FENCED = "FENCED"


class AgentMode(StrEnum):
    """What a node does with an agent."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    BACKING_OFF = "BACKING_OFF"
    READ_ONLY = "READ_ONLY"
    DONE = "DONE"
    GONE = "GONE"


class CommandKind(StrEnum):
    """What a node is told to do; see ``schemas/Command.avsc``."""

    START = "START"
    STOP = "STOP"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    RESTART = "RESTART"
    MIGRATE = "MIGRATE"
    THROTTLE = "THROTTLE"
    READ_ONLY = "READ_ONLY"
    READ_WRITE = "READ_WRITE"
    CHECKPOINT = "CHECKPOINT"
    VERIFY = "VERIFY"
    DRAIN = "DRAIN"


class RecoveryStatus(StrEnum):
    """How far a recovery came."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    ESCALATED = "ESCALATED"
    SKIPPED = "SKIPPED"


class StepState(StrEnum):
    """How far a step of a recovery came."""

    BEGUN = "BEGUN"
    DONE = "DONE"
    FAILED = "FAILED"


class RouteStatus(StrEnum):
    """Whether an agent is to run."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"
    QUARANTINED = "QUARANTINED"
    DONE = "DONE"


class EscalationStatus(StrEnum):
    """Who has an escalation."""

    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"
