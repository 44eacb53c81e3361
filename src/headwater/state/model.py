"""The state of one agent: the document that the log holds, and `AgentState`, its user-owned copy.

A document is a plain dict with exactly the keys of `FIELDS`. Agent id and version are not in it:
they belong to the agent's head.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from headwater.errors import InvalidState, UnsupportedValue
from headwater.state.values import SCALARS, canonical, copy_value, pack

Document = dict[str, Any]

FIELD_TYPES: dict[str, tuple[type, ...] | None] = {
    "session_id": (str,),
    "request_id": (str, type(None)),
    "status": (str,),
    "step": (int,),
    "max_steps": (int, type(None)),
    "task": None,
    "data": (dict,),
    "messages": (list,),
    "execution_history": (list,),
    "tool_contexts": (dict,),
    "metadata": (dict,),
}
"""The fields of a document, in order, with the exact types that each may have; None for any."""

FIELDS = tuple(FIELD_TYPES)

_HASH_TAG = b"headwater.state.v1\0"


def new_document() -> Document:
    """The document of an agent that has not done anything yet."""
    return {
        "session_id": "",
        "request_id": None,
        "status": "new",
        "step": 0,
        "max_steps": None,
        "task": None,
        "data": {},
        "messages": [],
        "execution_history": [],
        "tool_contexts": {},
        "metadata": {},
    }


def wrong_type(name: str, value: Any) -> str | None:
    """What is wrong with the type of a field's value, or None where nothing is."""
    types = FIELD_TYPES[name]
    if types is None or type(value) in types:
        return None
    wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in types)
    return f"{name} must be {wanted}, not {type(value).__name__}"


@dataclass(slots=True, eq=False)
class AgentState:
    """A plain copy of an agent's state, the caller's own: changing it changes nothing elsewhere.

    Two states are equal when every value is the same, types included: ``1``, ``1.0`` and ``True``
    differ, and a NaN equals a NaN.
    """

    agent_id: str
    session_id: str = ""
    request_id: str | None = None
    status: str = "new"
    step: int = 0
    max_steps: int | None = None
    task: Any = None
    data: dict[str, Any] = field(default_factory=dict)
    messages: list[Any] = field(default_factory=list)
    execution_history: list[Any] = field(default_factory=list)
    tool_contexts: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_document(self) -> Document:
        """A document with deep copies of the fields; `UnsupportedValue` names what cannot be."""
        document = {name: getattr(self, name) for name in FIELDS}
        for name, value in document.items():
            if reason := wrong_type(name, value):
                raise UnsupportedValue(reason, (name,))
        copied: Document = copy_value(document)
        return copied

    @classmethod
    def from_document(cls, agent_id: str, document: Document) -> AgentState:
        """The state that a document holds, as a deep copy."""
        return cls(agent_id, **copy_value(document))

    def __eq__(self, other: object) -> bool:
        if type(other) is not AgentState:
            return NotImplemented
        mine, theirs = ([state.agent_id, *_values(state)] for state in (self, other))
        try:
            return canonical(mine) == canonical(theirs)
        except UnsupportedValue:
            return mine == theirs

    __hash__ = None  # type: ignore[assignment]


def _values(state: AgentState) -> list[Any]:
    return [getattr(state, name) for name in FIELDS]


def state_hash(agent_id: str, document: Document) -> bytes:
    """SHA-256 over a version tag and the canonical form of ``[agent_id, document]``; 32 bytes.

    Raises `UnsupportedValue` for a document that holds what no state can.
    """
    # Put together by hand: inside a list the document would stand one level deeper than it may.
    digest = hashlib.sha256(_HASH_TAG + b"\x92" + pack(agent_id))
    digest.update(canonical(document))
    return digest.digest()


def validate(document: Document, agent_id: str) -> None:
    """Check that a document is one that may be restored.

    Raises `InvalidState`, whose ``check`` is "fields", "types", "agent_id", "session_id", "status",
    "step", "max_steps" or "values".
    """
    if type(document) is not dict or document.keys() != FIELD_TYPES.keys():
        _fail(agent_id, "fields", f"its fields must be exactly {', '.join(FIELDS)}")
    for name in FIELDS:
        if reason := wrong_type(name, document[name]):
            _fail(agent_id, "types", reason)
    if type(agent_id) is not str or not agent_id:
        _fail(agent_id, "agent_id", "the agent id must be a text that is not empty")
    for name in ("session_id", "status"):
        if not document[name]:
            _fail(agent_id, name, f"{name} is required and empty")
    step, limit = document["step"], document["max_steps"]
    if step < 0:
        _fail(agent_id, "step", "step is below 0")
    if limit is not None and step > limit:
        _fail(agent_id, "max_steps", "step is beyond max_steps")
    try:
        for name, value in document.items():
            if type(value) not in SCALARS:
                pack(value, (name,))
    except UnsupportedValue as error:
        _fail(agent_id, "values", str(error))


def _fail(agent_id: str, check: str, reason: str) -> None:
    raise InvalidState(
        f"the state of agent {agent_id!r} fails the check {check!r}: {reason}", check
    )
