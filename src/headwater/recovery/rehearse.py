"""Runs what agents have recorded through new code, and finds the first version that comes out
different: a rehearsal of an upgrade.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Message

from headwater.errors import AgentNotFound, ChangeRejected, HeadwaterError, UndecodableRecord
from headwater.log.fold import Admission, Agent, admit, fold, genesis, new_agent
from headwater.log.origin import read_origin
from headwater.log.records import StateChange, parse
from headwater.recovery.model import Failed
from headwater.recovery.oldest import oldest_start
from headwater.recovery.recover import Recovery
from headwater.state.compare import Difference, compare
from headwater.state.describe import describe
from headwater.state.model import FIELDS, AgentState, Document, state_hash, wrong_type
from headwater.state.patch import Op, apply_patch, decode_patch

OnProgress = Callable[[int, int], None]
"""Called with the partition that is being read and how many records of it are done."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """A change that an agent made, as the log has it: ``version`` is the one that it led to.

    ``ops`` are its operations, as in :mod:`headwater.state.patch`, ``description`` says in a line
    what they do. ``created_at`` is by the writer's clock.
    """

    agent_id: str
    version: int
    kind: str
    session_id: str
    request_id: str | None
    node_id: str
    created_at: datetime
    ops: tuple[Op, ...] = field(repr=False)
    description: str = ""

    def apply(self, state: AgentState) -> None:
        """Do to ``state`` what was recorded; where that does not fit it, nothing, like the fold."""
        document = _document(state)
        try:
            apply_patch(document, self.ops)
        except ChangeRejected:
            return
        for name, value in document.items():
            setattr(state, name, value)


Function = Callable[[AgentState, RecordedEvent], AgentState | None]
"""New code: takes the state so far, and returns what it makes of it, or changes it in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What became of one agent.

    Its ``events`` after ``from_version`` led to ``version``, both ways the same, unless there is a
    ``different_at``: the first version whose hash differs, with what is different in the new
    code's state, and its hash and the recorded one (32 bytes). ``error`` is why it failed at that
    version, with the trace of an exception in the code.
    """

    agent_id: str
    from_version: int
    version: int
    events: int
    different_at: int | None = None
    difference: Difference | None = None
    recorded_hash: bytes | None = None
    state_hash: bytes | None = None
    error: str | None = None

    @property
    def same(self) -> bool:
        """Whether the new code does what the old one did."""
        return self.different_at is None and self.error is None


def rehearse(
    recovery: Recovery,
    agent_ids: Iterable[str] | None,
    function: Function,
    on_progress: OnProgress = lambda partition, records: None,
) -> Iterator[Rehearsed | Failed]:
    """Each of ``agent_ids`` (None: all of which there are events), partition by partition.

    Every CHANGE goes through ``function``, with a state of its own that is compared with the
    recorded one after each version; restores and deletions put both where they were recorded.
    Starts at an agent's first event or, where that is gone, at the oldest proved state from which
    events lead on. Stops at an agent's first difference. Keeps the states of one partition's
    agents in memory, twice. A :class:`Failed` is an agent that the log does not know.
    """
    for number, keys in recovery.by_partition(agent_ids):
        yield from _partition(recovery, number, keys, function, on_progress)


def _partition(
    recovery: Recovery,
    number: int,
    wanted: set[bytes] | None,
    function: Function,
    on_progress: OnProgress,
) -> Iterator[Rehearsed | Failed]:
    topic = recovery.config.topic("events")
    runs: dict[bytes, _Run] = {}
    records = 0
    with recovery.scans.lend() as reader:
        first, end = reader.range(topic, number)
        for batch in reader.scan(topic, number, first, end) if first < end else ():
            for message in batch:
                key = message.key()
                if key is None or (wanted is not None and key not in wanted):
                    continue
                run = runs.get(key)
                if run is None:
                    run = runs[key] = _Run(recovery, key.decode(errors="replace"), first, function)
                run.take(message)
            records += len(batch)
            on_progress(number, records)
    for key in sorted(runs.keys() | (wanted or set())):
        found = runs.get(key)
        result = found.result() if found is not None else None
        if result is not None:
            yield result
        elif wanted is not None:
            agent_id = key.decode()
            missing = AgentNotFound(f"agent {agent_id!r} has no events in the log")
            yield Failed(agent_id=agent_id, error=missing)


class _Run:
    """One agent on its way through the log: as it was recorded, and as the new code has it."""

    def __init__(
        self, recovery: Recovery, agent_id: str, first_offset: int, function: Function
    ) -> None:
        self._recovery = recovery
        self._agent_id = agent_id
        self._first = first_offset
        self._function = function
        self._agent: Agent | None = None
        self._state = AgentState(agent_id)
        self._from_offset = 0
        self._from_version = 0
        self._events = 0
        self._ended: dict[str, Any] | None = None

    def result(self) -> Rehearsed | None:
        """What came of it; None where nothing in the log is this agent's."""
        if self._agent is None and self._ended is None:
            return None
        version = self._agent.head.version if self._agent is not None else 0
        return Rehearsed(
            agent_id=self._agent_id,
            from_version=self._from_version,
            version=version,
            events=self._events,
            **(self._ended or {}),
        )

    def take(self, message: Message) -> None:
        """One of the agent's records."""
        if self._ended is not None:
            return
        try:
            change = parse(message.key(), message.value())
            if change.kind != "BARRIER":
                self._take(change, message.offset() or 0)
        except UndecodableRecord:
            return  # the compactor sets it aside
        except HeadwaterError as error:
            self._ended = {"error": f"offset {message.offset()}: {error}"}

    def _take(self, change: StateChange, offset: int) -> None:
        agent = self._agent or self._begin(change)
        if offset < self._from_offset:
            return
        before = agent.head.version
        origin = read_origin(change.kind, change.patch)
        if fold(agent, change) is not Admission.ADMITTED or agent.head.version == before:
            return
        self._events += 1
        if change.kind != "CHANGE" or origin is not None:
            self._state = AgentState.from_document(self._agent_id, agent.document)
            return
        self._step(agent, change)

    def _begin(self, change: StateChange) -> Agent:
        if self._first == 0 or admit(genesis(self._agent_id), change) is Admission.ADMITTED:
            agent = new_agent(self._agent_id, self._recovery.resolve)
        else:
            start = oldest_start(self._recovery, self._agent_id, self._first)
            agent, self._from_offset = start.agent, start.offset
            self._state = AgentState.from_document(self._agent_id, agent.document)
        self._agent, self._from_version = agent, agent.head.version
        return agent

    def _step(self, agent: Agent, change: StateChange) -> None:
        version = agent.head.version
        try:
            event = _event(change, version)
            returned = self._function(self._state, event)
            self._state = self._state if returned is None else returned
            document = _checked(self._state)
            digest = state_hash(self._agent_id, document)
        except Exception as error:  # noqa: BLE001 - the code is the user's, and so is its fault
            said = "".join(traceback.format_exception(error)).rstrip()
            self._ended = {"different_at": version, "error": said}
            return
        recorded = state_hash(self._agent_id, agent.document)
        if digest != recorded:
            self._ended = {
                "different_at": version,
                "difference": compare(agent.document, document, before=version, after=version),
                "recorded_hash": recorded,
                "state_hash": digest,
            }


def _event(change: StateChange, version: int) -> RecordedEvent:
    try:
        ops = decode_patch(change.patch)
    except UndecodableRecord:
        ops = []
    return RecordedEvent(
        agent_id=change.agent_id,
        version=version,
        kind=change.kind,
        session_id=change.session_id,
        request_id=change.request_id,
        node_id=change.node_id,
        created_at=_EPOCH + timedelta(milliseconds=change.created_at),
        ops=tuple(ops),
        description=describe(ops).description,
    )


def _checked(state: object) -> Document:
    """The document of what the code returned; its containers are the state's own."""
    if not isinstance(state, AgentState):
        raise TypeError(f"the function returned {type(state).__name__}, not AgentState or None")
    document = _document(state)
    for name, value in document.items():
        if reason := wrong_type(name, value):
            raise TypeError(reason)
    return document


def _document(state: AgentState) -> Document:
    return {name: getattr(state, name) for name in FIELDS}
