"""Documents, their validation, and the caller's own copy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from headwater.errors import InvalidState, UnsupportedValue
from headwater.state.model import FIELD_TYPES, FIELDS, AgentState, new_document, validate


def _valid(**changes: Any) -> dict[str, Any]:
    return {**new_document(), "session_id": "s-1", **changes}


def test_new_documents_have_all_fields_in_order() -> None:
    """Every field is there, each call makes new containers, and only the session id is missing."""
    document = new_document()
    assert tuple(document) == FIELDS
    document["data"]["k"] = 1
    assert new_document()["data"] == {}
    validate(_valid(), "a")
    with pytest.raises(InvalidState):
        validate(new_document(), "a")


@pytest.mark.parametrize(
    ("check", "agent_id", "document"),
    [
        ("fields", "a", {}),
        ("fields", "a", {**_valid(), "more": 1}),
        ("fields", "a", None),
        ("agent_id", "", _valid()),
        ("agent_id", 7, _valid()),
        ("session_id", "a", _valid(session_id="")),
        ("status", "a", _valid(status="")),
        ("step", "a", _valid(step=-1)),
        ("max_steps", "a", _valid(step=10**5000, max_steps=4)),
        ("types", "a", _valid(step=True)),
        ("types", "a", _valid(step=1.0)),
        ("types", "a", _valid(data=[])),
        ("types", "a", _valid(messages={})),
        ("types", "a", _valid(status=None)),
        ("values", "a", _valid(metadata={"k": [object()]})),
    ],
)
def test_validation_names_the_check(check: str, agent_id: Any, document: Any) -> None:
    """Each thing that can be wrong with a state is told apart from the others."""
    with pytest.raises(InvalidState) as caught:
        validate(document, agent_id)
    assert caught.value.check == check


def test_steps_up_to_the_limit_are_valid() -> None:
    """The step may reach the limit, and without one it is free."""
    validate(_valid(step=5, max_steps=5), "a")
    validate(_valid(step=5), "a")


def test_agent_state_has_the_fields_of_a_document() -> None:
    """The copy has the agent's id and the document's fields, with the same defaults."""
    state = AgentState("a")
    assert tuple(AgentState.__dataclass_fields__) == ("agent_id", *FIELDS)
    assert state.to_document() == new_document()
    assert FIELD_TYPES.keys() == set(FIELDS)


def test_agent_state_equality_is_by_value_and_type() -> None:
    """NaN equals NaN; 1, 1.0 and True differ; what no state can hold is compared as Python does."""
    nan = float("nan")
    assert AgentState("a", data={"x": nan}) == AgentState("a", data={"x": float("nan")})
    assert AgentState("a", data={"x": 1}) != AgentState("a", data={"x": 1.0})
    assert AgentState("a") != AgentState("b")
    assert AgentState("a", data={"x": 1j}) == AgentState("a", data={"x": 1j})
    assert AgentState("a") != "a"
    with pytest.raises(TypeError):
        hash(AgentState("a"))


def test_documents_of_unsupported_states_name_the_field() -> None:
    """Wrong types of fields and values that no state can hold are refused with their path."""
    with pytest.raises(UnsupportedValue, match="step must be int, not str") as caught:
        AgentState("a", step="1").to_document()  # type: ignore[arg-type]
    assert caught.value.path == ("step",)
    with pytest.raises(UnsupportedValue) as caught:
        AgentState("a", data={"x": [datetime.now(tz=UTC), {3j}]}).to_document()
    assert caught.value.path == ("data", "x", 1)


def test_copies_go_both_ways() -> None:
    """Neither document nor state sees what is done to the other."""
    state = AgentState("a", messages=[{"n": 1}])
    document = state.to_document()
    back = AgentState.from_document("a", document)
    state.messages[0]["n"] = 2
    document["messages"][0]["n"] = 3
    assert back.messages == [{"n": 1}]
