"""The records of the fleet: heartbeats, failures, what is done about them, and who runs what.

One class for each schema, of the same name and fields; ``encode`` and ``decode`` are its bytes.
Fields that the schema has as a JSON object are dictionaries here.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar, Self

import msgspec

from headwater.fleet.words import (
    DEFAULT_SEVERITY,
    AgentMode,
    CommandKind,
    EscalationStatus,
    FailureType,
    NodeMode,
    RecoveryStatus,
    RouteStatus,
    Severity,
    StepState,
)
from headwater.wire import codec

__all__ = [
    "DEFAULT_SEVERITY",
    "AgentMode",
    "AgentReport",
    "AgentResult",
    "AuditRecord",
    "Command",
    "CommandAgent",
    "CommandKind",
    "CommandReply",
    "Escalation",
    "EscalationStatus",
    "FailureEvent",
    "FailureType",
    "Heartbeat",
    "KindReport",
    "LatencyBucket",
    "Metric",
    "NodeMode",
    "PeerReport",
    "RecoveryItem",
    "RecoveryResult",
    "RecoveryStatus",
    "RecoveryStep",
    "Resources",
    "Route",
    "RouteStatus",
    "Severity",
    "StepState",
]


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """A record, or one inside another. ``_json``: fields that are JSON text in the schema."""

    _json: ClassVar[tuple[str, ...]] = ()
    _nested: ClassVar[tuple[str, ...]] = ()

    def to_record(self) -> dict[str, Any]:
        """The record as Avro has it."""
        record: dict[str, Any] = msgspec.to_builtins(self, builtin_types=(bytes,))
        for name in self._json:
            record[name] = msgspec.json.encode(getattr(self, name)).decode()
        for name in self._nested:
            record[name] = [part.to_record() for part in getattr(self, name)]
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """The other way round."""
        return msgspec.convert(cls._open(record), cls)

    @classmethod
    def _open(cls, record: dict[str, Any]) -> dict[str, Any]:
        for name in cls._json:
            record[name] = msgspec.json.decode(record[name])
        for name in cls._nested:
            part = _PARTS[name]
            record[name] = [part._open(each) for each in record[name]]
        return record


class _Record(_Part, frozen=True, kw_only=True):
    def encode(self) -> bytes:
        """The bytes of the record, see :mod:`headwater.wire`."""
        return codec(type(self).__name__).encode(self.to_record())

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """The record of these bytes; raises as :meth:`headwater.wire.Codec.decode` does."""
        return cls.from_record(codec(cls.__name__).decode(value))


class AgentReport(_Part, frozen=True, kw_only=True):
    """One agent as its node has it. ``step`` counts the steps completed on this node."""

    agent_id: str
    kind: str
    epoch: int = 0
    version: int = 0
    step: int = 0
    step_started_at: int = 0
    state: AgentMode = AgentMode.RUNNING
    restarts: int = 0
    last_error: str = ""
    size_bytes: int = 0


class LatencyBucket(_Part, frozen=True, kw_only=True):
    """Steps of about one length: ``bucket`` is floor(8 log2(ms))."""

    bucket: int
    count: int


class KindReport(_Part, frozen=True, kw_only=True):
    """One kind of agent, and what its steps took since the process began."""

    kind: str
    deadline_ms: int = 0
    transitions: dict[str, list[str]] = {}
    steps: int = 0
    errors: int = 0
    timeouts: int = 0
    latency: list[LatencyBucket] = []


class PeerReport(_Part, frozen=True, kw_only=True):
    """How a node sees another one; ``rtt_ms`` is -1 where it did not answer."""

    node_id: str
    reachable: bool
    rtt_ms: float = -1.0


class Resources(_Part, frozen=True, kw_only=True):
    """What a node's process and machine have left."""

    cpu: float
    cpu_limit: float
    memory_bytes: int
    memory_limit_bytes: int
    disk_free_bytes: int
    disk_total_bytes: int
    open_files: int
    open_files_limit: int
    loop_lag_ms: float
    broker_rtt_ms: float
    replicas: int = 0


class Heartbeat(_Record, frozen=True, kw_only=True):
    """A node's sign of life."""

    node_id: str
    incarnation: bytes
    kind: str = "BEAT"
    sequence: int
    lease_ms: int
    sent_at: int
    mode: NodeMode = NodeMode.CLIENT
    address: str = ""
    agents_complete: bool = False
    agents: list[AgentReport] = []
    kinds: list[KindReport] = []
    peers: list[PeerReport] = []
    resources: Resources | None = None


class FailureEvent(_Record, frozen=True, kw_only=True):
    """A failure that a detector saw, or that has cleared."""

    _json = ("context",)

    failure_id: str
    type: FailureType
    severity: Severity
    component: str
    description: str
    context: dict[str, Any] = {}
    first_symptom_at: int
    detected_at: int
    detected_by: str
    resolved: bool = False
    resolved_at: int | None = None


class RecoveryStep(_Part, frozen=True, kw_only=True):
    """A step of a recovery: recorded before it is taken, and again once it was."""

    _json = ("detail",)

    name: str
    state: StepState
    began_at: int
    ended_at: int = 0
    detail: dict[str, Any] = {}


class RecoveryItem(_Part, frozen=True, kw_only=True):
    """What became of one agent."""

    agent_id: str
    ok: bool
    node_id: str = ""
    error: str = ""


class RecoveryResult(_Record, frozen=True, kw_only=True):
    """What was done about a failure so far."""

    _nested = ("steps",)

    failure_id: str
    type: FailureType
    severity: Severity
    component: str
    strategy: str = ""
    status: RecoveryStatus = RecoveryStatus.RUNNING
    attempt: int = 1
    message: str = ""
    error: str = ""
    steps: list[RecoveryStep] = []
    items: list[RecoveryItem] = []
    metrics: dict[str, float] = {}
    started_at: int
    finished_at: int = 0
    handled_by: str = ""


class CommandAgent(_Part, frozen=True, kw_only=True):
    """An agent that a command is about; ``kind`` is empty where the node knows it."""

    agent_id: str
    kind: str = ""


class Command(_Record, frozen=True, kw_only=True):
    """What a node is told to do."""

    _json = ("arguments",)

    command_id: str
    node_id: str
    kind: CommandKind
    agents: list[CommandAgent] = []
    arguments: dict[str, Any] = {}
    reason: str = ""
    failure_id: str = ""
    issued_by: str = ""
    issued_at: int
    expires_at: int = 0


class AgentResult(_Part, frozen=True, kw_only=True):
    """What became of one agent of a command."""

    _json = ("detail",)

    agent_id: str
    ok: bool
    error: str = ""
    epoch: int = 0
    version: int = 0
    detail: dict[str, Any] = {}


class CommandReply(_Record, frozen=True, kw_only=True):
    """How a node obeyed a command."""

    _nested = ("results",)

    command_id: str
    node_id: str
    final: bool = True
    ok: bool = True
    error: str = ""
    results: list[AgentResult] = []
    replied_at: int = 0


class Route(_Record, frozen=True, kw_only=True):
    """Where an agent runs."""

    agent_id: str
    kind: str
    node_id: str
    address: str = ""
    incarnation: bytes = b""
    epoch: int = 0
    status: RouteStatus = RouteStatus.RUNNING
    reason: str = ""
    updated_at: int = 0


class AuditRecord(_Record, frozen=True, kw_only=True):
    """Something that was detected, decided, done, or came of it."""

    _json = ("detail",)

    at: int
    actor: str
    action: str
    component: str
    failure_id: str = ""
    message: str = ""
    detail: dict[str, Any] = {}
    reason: str = ""


class Escalation(_Record, frozen=True, kw_only=True):
    """A failure that a person has to look at."""

    _json = ("tried",)

    failure_id: str
    type: FailureType
    severity: Severity
    component: str
    message: str
    tried: list[dict[str, Any]] = []
    status: EscalationStatus = EscalationStatus.OPEN
    by: str = ""
    note: str = ""
    opened_at: int = 0
    updated_at: int = 0


class Metric(_Record, frozen=True, kw_only=True):
    """A metric of one window."""

    name: str
    component: str
    window_start: int
    window_ms: int
    count: int
    sum: float
    min: float
    max: float
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    complete: bool = True


_PARTS: dict[str, type[_Part]] = {"steps": RecoveryStep, "results": AgentResult}


def _prime() -> None:
    # msgspec works out what a class is made of when it is first asked for one, and two threads that
    # ask at the same time crash the process (15 of 40 runs, msgspec 0.22.0). An import is done by
    # one thread at a time.
    for cls in _Record.__subclasses__():
        with suppress(msgspec.ValidationError):
            msgspec.convert(None, cls)


_prime()
