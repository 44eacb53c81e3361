"""The paths of `headwater show --field`."""

from __future__ import annotations

from typing import Any

import click
import pytest

from headwater.cli.errors import Exit
from headwater.cli.show import look_up

STATE: dict[str, Any] = {
    "status": "new",
    "data": {"plan": ["search", {"deep": (1, 2)}], "a": 1, "a.b": {"c": 2}, "k[0]": 3},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("status", "new"),
        ("data.plan", ["search", {"deep": (1, 2)}]),
        ("data.plan[0]", "search"),
        ("data.plan[-1].deep[1]", 2),
        ("data.a", 1),
        ("data.a.b.c", 2),
        ("data.k[0]", 3),
    ],
)
def test_a_path_names_a_part(path: str, value: Any) -> None:
    """Keys follow dots, positions stand in brackets, and keys may hold either."""
    assert look_up(STATE, path) == value


@pytest.mark.parametrize(
    "path", ["nope", "data.nope", "data.plan[2]", "data.plan[x]", "data.plan[0", "status.x"]
)
def test_a_path_that_leads_nowhere_is_not_found(path: str) -> None:
    """What the state does not have is told as not found, with what it has instead."""
    with pytest.raises(click.ClickException, match="nothing at") as caught:
        look_up(STATE, path)
    assert caught.value.exit_code == Exit.NOT_FOUND
