"""What follows from the notes of shadows: who is at work, what was lost, what came twice."""

from __future__ import annotations

from pathlib import Path

from headwater.drill.steps import (
    BEGUN,
    DONE,
    SPOILT,
    Note,
    Notebook,
    at_work_since,
    losses,
    read_notes,
)


def done(agent: str, node: str, number: int, at_s: float) -> list[Note]:
    """A step that was begun and acknowledged."""
    return [Note(BEGUN, agent, node, number, at_s), Note(DONE, agent, node, number, at_s + 0.25)]


def test_agents_are_at_work_once_each_has_a_step_elsewhere() -> None:
    """The last agent's first acknowledged step counts, and steps on the victim do not."""
    notes = [
        *done("a", "victim", 1, 1.0),
        *done("a", "victim", 2, 5.0),
        *done("a", "heir", 3, 6.0),
        Note(BEGUN, "b", "heir", 1, 6.5),
    ]
    assert at_work_since(notes, ["a", "b"], 5.0, not_on="victim") is None
    assert at_work_since([*notes, *done("b", "heir", 1, 7.0)], ["a", "b"], 5.0, "victim") == 7.25
    assert at_work_since(notes, ["a"], 5.0) == 5.25


def test_nothing_is_lost_where_all_that_was_acknowledged_is_in_the_state() -> None:
    """A step that was never acknowledged may be in the state or not, and begin again."""
    notes = [*done("a", "v", 1, 1.0), Note(BEGUN, "a", "v", 2, 2.0), *done("a", "h", 2, 3.0)]
    found = losses(notes, {"a": [1, 2]})
    assert (found.changes, found.lost, found.doubled, found.repeated) == (2, 0, 0, 1)


def test_what_is_missing_and_what_is_twice_is_counted() -> None:
    """An acknowledged step that is not in the state is lost, one that is there twice doubled."""
    notes = [*done("a", "v", 1, 1.0), *done("a", "v", 2, 2.0), *done("b", "v", 1, 1.0)]
    found = losses(notes, {"a": [1, 1]})
    assert (found.lost, found.doubled) == (2, 1)


def test_what_follows_a_spoilt_step_may_be_taken_back() -> None:
    """Only what was acknowledged before the bad state must be there."""
    notes = [
        *done("a", "v", 1, 1.0),
        Note(SPOILT, "a", "v", 2, 2.0),
        *done("a", "v", 3, 3.0),
        *done("a", "v", 2, 4.0),
    ]
    found = losses(notes, {"a": [1, 2]})
    assert (found.lost, found.doubled, found.repeated) == (0, 0, 0)
    assert losses(notes, {"a": [2]}).lost == 1


def test_notes_survive_a_line_that_was_half_written(tmp_path: Path) -> None:
    """The notes of several processes come in the order of their times, the torn end left out."""
    Notebook(tmp_path, "n1").note(BEGUN, "a", 1)
    Notebook(tmp_path, "n2").note(DONE, "b", 1)
    with (tmp_path / "n1.notes").open("ab") as file:
        file.write(b'["done", "a"')
    notes = read_notes(tmp_path)
    assert [(note.what, note.agent_id, note.node_id) for note in notes] == [
        (BEGUN, "a", "n1"),
        (DONE, "b", "n2"),
    ]
    assert notes[0].at_s <= notes[1].at_s
