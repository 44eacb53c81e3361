"""What is made of checkpoint records and of the events behind them."""

from __future__ import annotations

import msgspec

from headwater.log.checkpoints import Checkpoint, checkpoint_key, encode_checkpoint, mark
from headwater.log.fold import Head, advance, genesis
from headwater.log.notes import Forget, Note, encode_note
from headwater.log.records import StateChange, parse
from headwater.recovery.checkpoints import _Held
from tests.support.compaction import Author, messages


def changes(author: Author, *values: bytes) -> list[StateChange]:
    """Records as they are read."""
    return [parse(author.key, value) for value in values]


def note(author: Author, made: Note | Forget) -> StateChange:
    """A note of somebody else's, outside the chain."""
    change = parse(author.key, author._session.record("BARRIER", bytes(32), 0, b"", 7))
    return msgspec.structs.replace(change, patch=encode_note(made), node_id="elsewhere")


def record(held: _Held, checkpoint: Checkpoint | None, name: str) -> None:
    """Take a record of the checkpoints topic in."""
    value = None if checkpoint is None else encode_checkpoint(checkpoint)
    (message,) = messages([(checkpoint_key("a", name), value)])
    held.take_record(message)


def head_after(events: list[StateChange]) -> Head:
    """The head to which records lead."""
    head = genesis("a")
    for change in events:
        head = advance(head, change)
    return head


def test_events_that_the_compactor_has_not_seen_count_like_records() -> None:
    """Notes mark the head that they follow, and forgotten ones are gone."""
    author = Author("a")
    first, second, third = changes(author, author.claim(), author.say("1"), author.say("2"))
    held = _Held(genesis("a"))
    for change in (note(author, Note(id="early", type="manual")), first, second):
        held.take_event(change)
    held.take_event(note(author, Note(id="x", type="manual", label="l")))
    held.take_event(third)
    held.take_event(note(author, Note(id="y", type="milestone")))
    held.take_event(note(author, Forget(forget="x")))
    gone, kept = held.get("x"), held.get("y")
    assert held.get("early") is None  # there was no agent yet
    assert gone is not None
    assert (gone.deleted, gone.version, gone.label) == (True, 1, "l")
    assert kept is not None
    assert (kept.deleted, kept.version, kept.node_id) == (False, 2, "elsewhere")
    assert kept.hash == held.head.hash == author.hash


def test_an_index_entry_newer_than_the_position_moves_no_checkpoint() -> None:
    """The record that was written with the entry is right; the event is read a second time."""
    author = Author("a")
    events = changes(author, author.claim(), author.say("1"), author.say("2"))
    held = _Held(head_after(events))
    right = mark(head_after(events[:2]), "x", "manual")
    record(held, right, "x")
    for change in (*events[:2], note(author, Note(id="x", type="manual")), events[2]):
        held.take_event(change)
    assert held.get("x") == right


def test_a_tombstone_ends_a_checkpoint() -> None:
    """Retention writes it; a record under the same key later begins another one."""
    held, made = _Held(genesis("a")), mark(genesis("a"), "x", "manual")
    record(held, made, "x")
    record(held, None, "x")
    assert held.get("x") is None
    record(held, made, "x")
    assert held.get("x") == made
